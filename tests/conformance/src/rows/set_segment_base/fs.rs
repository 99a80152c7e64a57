//! `SEGBASE_FS`, number 0 of `set_segment_base` (xen/include/public/arch-x86/xen-x86_64.h).
//!
//! Sets the base of FS, which kernel and programs have in common.
//!
//! Refused: bases that are not canonical (`EINVAL`).

use core::arch::asm;

use paravane_abi::hypercall::set_segment_base::SEGBASE_FS;
use pv_probe::user;

use super::{clear, refused, set, taken};
use crate::case::{Case, Row, Verdict};
use crate::rows::tables::{Mapped, filled};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "set_segment_base",
    "fs",
    &[
        Case::good("taken", "any canonical address, and no other base changes", |t| {
            taken(t, SEGBASE_FS, 0);
            Ok(())
        }),
        Case::good("loads", "a load by FS goes there", loads),
        Case::good("programs", "a program has it too", programs),
        Case::refusal("not-canonical", "bases that are not canonical", |t| {
            refused(t, SEGBASE_FS);
            Ok(())
        }),
    ],
);

fn loads(t: &mut Trial) -> Verdict {
    let page = Mapped::new(4, filled(&[(9, 0x1234)]));
    t.succeeds("set", set(SEGBASE_FS, page.address() + 64));
    let word: u64;
    // SAFETY: the base is within the case's page.
    unsafe { asm!("mov {}, fs:[8]", out(reg) word) };
    t.equal("word", word, 0x1234);
    clear();
    Ok(())
}

fn programs(t: &mut Trial) -> Verdict {
    user::prepare();
    t.succeeds("set", set(SEGBASE_FS, user::CODE));
    // mov rax, fs:[0]; ud2
    let caught = user::run(&[0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0x0f, 0x0b], &[0; 15]);
    t.equal("word", caught.registers[0], 0x0000_0025_048b_4864);
    clear();
    Ok(())
}
