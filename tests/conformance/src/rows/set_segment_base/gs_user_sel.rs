//! `SEGBASE_GS_USER_SEL`, number 3 of `set_segment_base` (xen/include/public/arch-x86/xen-x86_64.h).
//!
//! Loads a selector into the programs' GS, by which its base becomes the descriptor's. One that is not null gets RPL 3; one
//! that cannot be loaded becomes null.
//!
//! Nothing is refused.

use paravane_abi::hypercall::HYPERVISOR_SET_GDT;
use paravane_abi::hypercall::set_segment_base::{SEGBASE_GS_USER, SEGBASE_GS_USER_SEL};
use paravane_abi::segment::FLAT_RING3_DS32;
use pv_probe::hypercall::raw;
use pv_probe::user;

use super::{clear, set};
use crate::case::{Case, Row, Verdict};
use crate::rows::tables::filled;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "set_segment_base",
    "gs_user_sel",
    &[
        Case::good("loaded", "a program has the selector", loaded),
        Case::good("level", "its privilege level becomes 3", level),
        Case::good("unusable", "what cannot be loaded becomes null", unusable),
        Case::good("base", "the base is the descriptor's", base),
    ],
)
.no_refusal("a selector that cannot be loaded becomes null");

/// GS of a program.
fn selector() -> u64 {
    // mov eax, gs; ud2
    user::run(&[0x8c, 0xe8, 0x0f, 0x0b], &[0; 15]).registers[0]
}

fn loaded(t: &mut Trial) -> Verdict {
    for (name, value) in [("flat", u64::from(FLAT_RING3_DS32)), ("null", 0)] {
        t.succeeds(name, set(SEGBASE_GS_USER_SEL, value));
        t.equal(format_args!("{name}.gs"), selector(), value);
    }
    clear();
    Ok(())
}

fn level(t: &mut Trial) -> Verdict {
    let flat = u64::from(FLAT_RING3_DS32);
    for level in 0..3 {
        t.succeeds(format_args!("{level}"), set(SEGBASE_GS_USER_SEL, flat & !3 | level));
        t.equal(format_args!("{level}.gs"), selector(), flat);
    }
    set(SEGBASE_GS_USER_SEL, 0);
    clear();
    Ok(())
}

fn unusable(t: &mut Trial) -> Verdict {
    for (name, value) in [("no-descriptor", 0xb), ("beyond", 0xfff3), ("hypervisor", 0xe010), ("local", 0x7)]
    {
        set(SEGBASE_GS_USER_SEL, FLAT_RING3_DS32.into());
        t.succeeds(name, set(SEGBASE_GS_USER_SEL, value));
        t.equal(format_args!("{name}.gs"), selector(), 0);
    }
    clear();
    Ok(())
}

fn base(t: &mut Trial) -> Verdict {
    user::prepare();
    // Data of level 3, accessed, 32-bit, 4 GiB, at the programs' code.
    let frame = filled(&[(1, 0x00cf_f300_0000_ffff | (user::CODE & 0xff_ffff) << 16)]);
    t.need("set_gdt", raw(HYPERVISOR_SET_GDT, [&raw const frame as u64, 512, 0, 0, 0]))?;
    t.succeeds("other-base", set(SEGBASE_GS_USER, 0x1000));
    t.succeeds("load", set(SEGBASE_GS_USER_SEL, 0xb));
    // mov rax, gs:[0]; ud2
    let caught = user::run(&[0x65, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0x0f, 0x0b], &[0; 15]);
    t.equal("word", caught.registers[0], 0x0000_0025_048b_4865);
    set(SEGBASE_GS_USER_SEL, 0);
    raw(HYPERVISOR_SET_GDT, [0; 5]);
    clear();
    Ok(())
}
