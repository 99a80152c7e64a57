//! `set_debugreg(register, value)`, call 8 (xen/include/public/xen.h).
//!
//! Writes DR0 to DR3, DR6 or DR7 (4 and 5 are other names of the latter two, unless CR4.DE is set), as an emulated `mov` does.
//! Reserved bits of DR6 and DR7 have the values that the processor gives them.
//!
//! Refused: other registers (`ENODEV`); breakpoints in the hypervisor's range or at addresses that are not canonical
//! (`EPERM`); in DR6 and DR7 bits beyond 32 (`EINVAL`); in DR7 general detection, and breakpoints of ports without CR4.DE
//! (`EPERM`).

use core::arch::asm;

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::{HYPERVISOR_GET_DEBUGREG, HYPERVISOR_SET_DEBUGREG};
use paravane_abi::trap::vector;
use pv_probe::guard::{Caught, RETURNED, guarded};
use pv_probe::hypercall::raw;

use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "set_debugreg",
    &[
        Case::good("addresses", "DR0 to DR3 take any address outside of the hypervisor's range", addresses),
        Case::good("status", "DR6 keeps its reserved bits", status),
        Case::good("control", "DR7 keeps its reserved bits", control),
        Case::good("aliases", "4 is DR6 and 5 is DR7", aliases),
        Case::good("execution", "a breakpoint of an instruction is hit, and DR6 says which", execution),
        Case::good("write", "a breakpoint of a write is hit by writes alone", write),
        Case::refusal("no-register", "registers that there are not", no_register),
        Case::refusal("hypervisor", "breakpoints in the hypervisor's range", hypervisor),
        Case::refusal("not-canonical", "breakpoints that are not canonical", not_canonical),
        Case::refusal("high-bits", "bits beyond 32 of DR6 and DR7", high_bits),
        Case::refusal("general-detection", "DR7.GD", general_detection),
        Case::refusal("ports", "breakpoints of ports", ports),
    ],
);

/// DR6 and DR7 with nothing in them.
pub const STATUS: u64 = 0xffff_0ff0;
const CONTROL: u64 = 0x400;

pub fn get(register: u64) -> u64 {
    raw(HYPERVISOR_GET_DEBUGREG, [register, 0, 0, 0, 0]) as u64
}

pub fn set(register: u64, value: u64) -> i64 {
    raw(HYPERVISOR_SET_DEBUGREG, [register, value, 0, 0, 0])
}

/// As they are at the start.
pub fn clear() {
    set(7, 0);
    set(6, 0);
    (0..4).for_each(|register| {
        set(register, 0);
    });
}

fn addresses(t: &mut Trial) -> Verdict {
    for (name, value) in [
        ("first", 1),
        ("lower-half", 0x7fff_ffff_ffff),
        ("upper-half", 0xffff_8800_0000_0000),
        ("last", u64::MAX),
    ] {
        for register in 0..4 {
            t.succeeds(format_args!("{name}.{register}"), set(register, value));
            t.equal(format_args!("{name}.{register}.read"), get(register), value);
        }
    }
    clear();
    Ok(())
}

fn status(t: &mut Trial) -> Verdict {
    for (name, value, want) in
        [("zeroes", 0, STATUS), ("ones", 0xffff_ffff, 0xffff_efff), ("step", 0x4000, STATUS | 0x4000)]
    {
        t.succeeds(name, set(6, value));
        t.equal(format_args!("{name}.read"), get(6), want);
    }
    clear();
    Ok(())
}

fn control(t: &mut Trial) -> Verdict {
    // Lengths and kinds of nothing that is armed.
    for (name, value, want) in [
        ("zeroes", 0, CONTROL),
        ("exact", 0x300, 0x700),
        ("fields", 0xdddd_0000, 0xdddd_0400),
        ("zero-bits", 0xd800, 0x400),
    ] {
        t.succeeds(name, set(7, value));
        t.equal(format_args!("{name}.read"), get(7), want);
    }
    clear();
    Ok(())
}

fn aliases(t: &mut Trial) -> Verdict {
    t.succeeds("4", set(4, 0x8));
    t.equal("6.read", get(6), STATUS | 0x8);
    t.succeeds("5", set(5, 0x300));
    t.equal("7.read", get(7), 0x700);
    clear();
    Ok(())
}

/// Where a breakpoint is.
#[inline(never)]
extern "C" fn touched(address: u64) -> u64 {
    // SAFETY: a word of the case's.
    unsafe { (address as *mut u64).write_volatile(core::hint::black_box(7)) };
    address
}

#[inline(never)]
extern "C" fn looked_at(address: u64) -> u64 {
    // SAFETY: a word of the case's.
    unsafe { (address as *const u64).read_volatile() }
}

fn run(code: extern "C" fn(u64) -> u64, word: &mut u64) -> Caught {
    // SAFETY: the function returns, or the guard takes the exception.
    unsafe { guarded(code as *const () as u64, core::ptr::from_mut(word) as u64) }
}

fn execution(t: &mut Trial) -> Verdict {
    let mut word = 0;
    t.succeeds("address", set(2, touched as *const () as u64));
    t.succeeds("arm", set(7, CONTROL | 0x20));
    let caught = run(touched, &mut word);
    let status = get(6);
    clear();
    t.raises("hit", &caught, vector::DB.into(), None);
    t.holds("where", caught.frame()[0] == touched as *const () as u64);
    t.equal("status", status, STATUS | 4);
    t.raises("disarmed", &run(touched, &mut word), RETURNED, None);
    Ok(())
}

fn write(t: &mut Trial) -> Verdict {
    let mut word = 0;
    t.succeeds("address", set(1, core::ptr::from_mut(&mut word) as u64));
    // Register 1, eight bytes, writes.
    t.succeeds("arm", set(7, CONTROL | 0x8 | 0b1001 << 20));
    t.raises("read", &run(looked_at, &mut word), RETURNED, None);
    let caught = run(touched, &mut word);
    let status = get(6);
    clear();
    t.raises("written", &caught, vector::DB.into(), None);
    t.equal("word", word, 7);
    t.equal("status", status, STATUS | 2);
    Ok(())
}

fn no_register(t: &mut Trial) -> Verdict {
    for register in [8, 9, 0xffff_ffff] {
        t.refused(format_args!("{register:x}"), Errno::ENODEV, || set(register, 0));
    }
    Ok(())
}

fn hypervisor(t: &mut Trial) -> Verdict {
    for (name, address) in
        [("first", 0xffff_8000_0000_0000), ("within", pointers::HYPERVISOR), ("last", 0xffff_87ff_ffff_ffff)]
    {
        for register in 0..4 {
            t.refused(format_args!("{name}.{register}"), Errno::EPERM, || set(register, address));
        }
    }
    Ok(())
}

fn not_canonical(t: &mut Trial) -> Verdict {
    for (name, address) in [("first", pointers::NOT_CANONICAL), ("last", 0xffff_7fff_ffff_ffff)] {
        t.refused(name, Errno::EPERM, || set(3, address));
    }
    Ok(())
}

fn high_bits(t: &mut Trial) -> Verdict {
    for register in [4, 5, 6, 7] {
        t.refused(format_args!("{register}.first"), Errno::EINVAL, || set(register, 1 << 32));
        t.refused(format_args!("{register}.last"), Errno::EINVAL, || set(register, 1 << 63));
    }
    Ok(())
}

fn general_detection(t: &mut Trial) -> Verdict {
    t.refused("alone", Errno::EPERM, || set(7, CONTROL | 0x2000));
    t.refused("with-breakpoint", Errno::EPERM, || set(7, CONTROL | 0x2001));
    let dr7: u64;
    // SAFETY: emulated; reading has no effect.
    unsafe { asm!("mov {}, dr7", out(reg) dr7) };
    t.equal("instruction", dr7, CONTROL);
    Ok(())
}

fn ports(t: &mut Trial) -> Verdict {
    // CR4.DE is clear: what would be a port's breakpoint is undefined then (SDM volume 3, 17.2.4).
    for register in 0..4u64 {
        let arm = CONTROL | 1 << (2 * register) | 0b10 << (16 + 4 * register);
        t.refused(format_args!("{register}"), Errno::EPERM, || set(7, arm));
    }
    Ok(())
}
