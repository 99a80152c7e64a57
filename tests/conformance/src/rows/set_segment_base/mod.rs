//! `set_segment_base(which, base)`, call 25 (xen/include/public/arch-x86/xen-x86_64.h).
//!
//! Sets the base of FS or of GS, this kernel's or its programs', or loads a selector into the programs' GS. A base may be any
//! canonical address, the hypervisor's too: paging guards them.
//!
//! Refused: other numbers, and bases that are not canonical (`EINVAL`).

mod fs;
mod gs_kernel;
mod gs_user;
mod gs_user_sel;

use core::arch::asm;

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_SET_SEGMENT_BASE;
use paravane_abi::hypercall::set_segment_base::{SEGBASE_FS, SEGBASE_GS_KERNEL, SEGBASE_GS_USER};
use pv_probe::hypercall::raw;

use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The call's rows.
pub const ROWS: &[&Row] = &[&ROW, &fs::ROW, &gs_user::ROW, &gs_kernel::ROW, &gs_user_sel::ROW];

/// What the call does besides.
const ROW: Row = Row::call(
    "set_segment_base",
    &[
        Case::good("number", "the number is the first argument's low 32 bits", number),
        Case::refusal("unknown", "numbers that there are not", unknown),
    ],
);

fn set(which: u32, base: u64) -> i64 {
    raw(HYPERVISOR_SET_SEGMENT_BASE, [which.into(), base, 0, 0, 0])
}

const MSR_FS_BASE: u32 = 0xc000_0100;
const MSR_GS_BASE: u32 = 0xc000_0101;
const MSR_SHADOW_GS_BASE: u32 = 0xc000_0102;

fn read(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: emulated; reads a segment base.
    unsafe { asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high) };
    u64::from(high) << 32 | u64::from(low)
}

/// The bases of FS, of GS, and of GS in programs.
fn bases() -> [u64; 3] {
    [MSR_FS_BASE, MSR_GS_BASE, MSR_SHADOW_GS_BASE].map(read)
}

/// As at the start.
fn clear() {
    for which in [SEGBASE_FS, SEGBASE_GS_USER, SEGBASE_GS_KERNEL] {
        set(which, 0);
    }
}

/// Addresses that a base may be.
const GOOD: [(&str, u64); 5] = [
    ("low", 0x1234_5678_9abc),
    ("lower-end", 0x7fff_ffff_ffff),
    ("upper-half", 0xffff_9000_1234_5678),
    ("hypervisor", pointers::HYPERVISOR),
    ("last", u64::MAX),
];

/// A base of each kind is taken as it is, and changes no other.
fn taken(t: &mut Trial, which: u32, place: usize) {
    clear();
    for (name, base) in GOOD {
        t.succeeds(name, set(which, base));
        let mut want = [0; 3];
        want[place] = base;
        t.same(format_args!("{name}.bases"), bases(), want);
    }
    clear();
}

/// A base that is not canonical is refused, and the one before stays.
fn refused(t: &mut Trial, which: u32) {
    clear();
    t.succeeds("before", set(which, 0x1234_5678));
    let before = bases();
    for (name, base) in
        [("first", pointers::NOT_CANONICAL), ("last", 0xffff_7fff_ffff_ffff), ("bit-63", 1 << 63)]
    {
        t.refused(name, Errno::EINVAL, || set(which, base));
        t.same(format_args!("{name}.bases"), bases(), before);
    }
    clear();
}

fn number(t: &mut Trial) -> Verdict {
    let which = 1 << 32 | u64::from(SEGBASE_FS);
    t.succeeds("high-bit", raw(HYPERVISOR_SET_SEGMENT_BASE, [which, 0x7000, 0, 0, 0]));
    t.equal("fs", read(MSR_FS_BASE), 0x7000);
    clear();
    Ok(())
}

fn unknown(t: &mut Trial) -> Verdict {
    for which in [4, 5, u32::MAX] {
        t.refused(format_args!("{which:x}"), Errno::EINVAL, || set(which, 0));
    }
    Ok(())
}
