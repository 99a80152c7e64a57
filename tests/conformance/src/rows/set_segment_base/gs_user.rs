//! `SEGBASE_GS_USER`, number 1 of `set_segment_base` (xen/include/public/arch-x86/xen-x86_64.h).
//!
//! Sets the base of GS that programs have.
//!
//! Refused: bases that are not canonical (`EINVAL`).

use paravane_abi::hypercall::set_segment_base::SEGBASE_GS_USER;
use pv_probe::user;

use super::{clear, refused, set, taken};
use crate::case::{Case, Rings, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "set_segment_base",
    "gs_user",
    &[
        Case::good("taken", "any canonical address, and no other base changes", |t| {
            taken(t, SEGBASE_GS_USER, 2);
            Ok(())
        })
        .rings(Rings::Three(
            "in ring 1 the processor's `swapgs` is nobody's to execute: there is one base of GS",
        )),
        Case::good("programs", "a program's load by GS goes there", programs),
        Case::refusal("not-canonical", "bases that are not canonical", |t| {
            refused(t, SEGBASE_GS_USER);
            Ok(())
        }),
    ],
);

fn programs(t: &mut Trial) -> Verdict {
    user::prepare();
    t.succeeds("set", set(SEGBASE_GS_USER, user::CODE));
    // mov rax, gs:[0]; ud2
    let caught = user::run(&[0x65, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0x0f, 0x0b], &[0; 15]);
    t.equal("word", caught.registers[0], 0x0000_0025_048b_4865);
    clear();
    Ok(())
}
