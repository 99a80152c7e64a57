//! `SEGBASE_GS_KERNEL`, number 2 of `set_segment_base` (xen/include/public/arch-x86/xen-x86_64.h).
//!
//! Sets the base of GS that this kernel has: programs have another, and the hypervisor exchanges the two.
//!
//! Refused: bases that are not canonical (`EINVAL`).

use core::arch::asm;

use paravane_abi::hypercall::set_segment_base::SEGBASE_GS_KERNEL;

use super::{clear, refused, set, taken};
use crate::case::{Case, Rings, Row, Verdict};
use crate::rows::tables::{Mapped, filled};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "set_segment_base",
    "gs_kernel",
    &[
        Case::good("taken", "any canonical address, and no other base changes", |t| {
            taken(t, SEGBASE_GS_KERNEL, 1);
            Ok(())
        })
        .rings(RING3),
        Case::good("loads", "a load by GS goes there", loads).rings(RING3),
        Case::refusal("not-canonical", "bases that are not canonical", |t| {
            refused(t, SEGBASE_GS_KERNEL);
            Ok(())
        }),
    ],
);

const RING3: Rings =
    Rings::Three("in ring 1 the processor's `swapgs` is nobody's to execute: GS goes by its programs' name");

fn loads(t: &mut Trial) -> Verdict {
    let page = Mapped::new(4, filled(&[(9, 0x1234)]));
    t.succeeds("set", set(SEGBASE_GS_KERNEL, page.address() + 64));
    let word: u64;
    // SAFETY: the base is within the case's page.
    unsafe { asm!("mov {}, gs:[8]", out(reg) word) };
    t.equal("word", word, 0x1234);
    clear();
    Ok(())
}
