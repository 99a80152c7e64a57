//! Segment bases, by hypercall and by MSR, and selectors that change them.

use core::arch::asm;

use paravane_abi::hypercall::HYPERVISOR_SET_SEGMENT_BASE;

use crate::case::Case;
use crate::observe;
use pv_probe::hypercall::{code, raw};

/// The case.
pub const CASE: Case = super::observation(
    "segments",
    "segment bases by set_segment_base and by MSR, and the selectors beside them",
    |_| {
        observe();
        Ok(())
    },
);

const MSR_FS_BASE: u32 = 0xc000_0100;
const MSR_GS_BASE: u32 = 0xc000_0101;
const MSR_SHADOW_GS_BASE: u32 = 0xc000_0102;

fn rdmsr(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a segment base, which has no effect.
    unsafe { asm!("rdmsr", in("ecx") number, out("eax") low, out("edx") high) };
    u64::from(high) << 32 | u64::from(low)
}

fn wrmsr(number: u32, value: u64) {
    // SAFETY: nothing in this kernel depends on a segment base.
    unsafe { asm!("wrmsr", in("ecx") number, in("eax") value as u32, in("edx") (value >> 32) as u32) };
}

/// The bases of FS and GS, and GS's for user mode.
pub fn bases() -> (u64, u64, u64) {
    (rdmsr(MSR_FS_BASE), rdmsr(MSR_GS_BASE), rdmsr(MSR_SHADOW_GS_BASE))
}

fn selectors() -> (u16, u16) {
    let (fs, gs): (u16, u16);
    // SAFETY: reads selectors.
    unsafe { asm!("mov {0:x}, fs", "mov {1:x}, gs", out(reg) fs, out(reg) gs) };
    (fs, gs)
}

fn observe() {
    const BASE: u64 = 0x0000_1234_5678_9000;
    for which in 0..5u64 {
        for (name, value) in [
            ("low", BASE),
            ("high", 0xffff_9000_0000_0000),
            ("hypervisor", 0xffff_8000_0000_0000),
            ("not-canonical", 0x0000_8000_0000_0000),
            ("selector", 0xe02b),
            ("selector-beyond", 0xfff3),
            ("null", 0),
        ] {
            let result = raw(HYPERVISOR_SET_SEGMENT_BASE, [which, value, 0, 0, 0]);
            let (fs, gs, user) = bases();
            let selectors = selectors();
            observe!(
                ("set.{which}.{name}"),
                "{}: fs {fs:#x} gs {gs:#x} user {user:#x}, {selectors:x?}",
                code(result)
            );
        }
    }
    for (name, number) in [("fs", MSR_FS_BASE), ("gs", MSR_GS_BASE), ("user", MSR_SHADOW_GS_BASE)] {
        wrmsr(number, BASE);
        let (fs, gs, user) = bases();
        observe!(("wrmsr.{name}"), "fs {fs:#x} gs {gs:#x} user {user:#x}");
        wrmsr(number, 0);
    }
    load("fs", |selector| {
        // SAFETY: nothing in this kernel uses FS.
        unsafe { asm!("mov fs, {0:x}", in(reg) selector) };
    });
    load("gs", |selector| {
        // SAFETY: nothing in this kernel uses GS.
        unsafe { asm!("mov gs, {0:x}", in(reg) selector) };
    });
}

/// What loading a selector does to a base that was set.
fn load(name: &str, load: fn(u16)) {
    for selector in [0u16, 3, 0xe02b, 0xe02a, 0xe023] {
        raw(HYPERVISOR_SET_SEGMENT_BASE, [0, 0x1000, 0, 0, 0]);
        raw(HYPERVISOR_SET_SEGMENT_BASE, [2, 0x2000, 0, 0, 0]);
        load(selector);
        let (fs, gs, _) = bases();
        let selectors = selectors();
        observe!(("load.{name}.{selector:x}"), "fs {fs:#x} gs {gs:#x}, {selectors:x?}");
        load(0);
    }
    raw(HYPERVISOR_SET_SEGMENT_BASE, [0, 0, 0, 0, 0]);
    raw(HYPERVISOR_SET_SEGMENT_BASE, [2, 0, 0, 0, 0]);
}
