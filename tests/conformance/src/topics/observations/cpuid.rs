//! CPUID as the kernel asks for it, by the forced-emulation prefix and by the instruction alone.

use core::arch::asm;
use core::arch::x86_64::CpuidResult;

use crate::case::{Case, Explained, because};
use crate::observe;

/// The case.
pub const CASE: Case = super::observation("cpuid", "CPUID leaves, by the emulated instruction", |_| {
    observe();
    Ok(())
})
.explained(&[
    Explained { value: "00000001.0.edx", reason: because::PRIVILEGE },
    Explained { value: "40000003.0.ecx", reason: because::BUILDER },
    Explained { value: "80000000.0.eax", reason: because::FEATURES },
    Explained { value: "80000001.0.edx", reason: because::PRIVILEGE },
    Explained { value: "80000021.0.eax", reason: because::FEATURES },
]);

/// By Xen's prefix.
fn forced(leaf: u32, subleaf: u32) -> CpuidResult {
    let (eax, ebx, ecx, edx): (u32, u64, u32, u32);
    // SAFETY: emulated by the hypervisor, and without effect but on these registers.
    unsafe {
        asm!("mov {saved}, rbx", "ud2", ".ascii \"xen\"", "cpuid", "xchg {saved}, rbx", saved = out(reg) ebx,
             inlateout("eax") leaf => eax, inlateout("ecx") subleaf => ecx, lateout("edx") edx);
    }
    CpuidResult { eax, ebx: ebx as u32, ecx, edx }
}

fn observe() {
    const LEAVES: &[(u32, u32)] = &[
        (0, 0),
        (1, 0),
        (2, 0),
        (4, 0),
        (4, 1),
        (5, 0),
        (6, 0),
        (7, 0),
        (7, 1),
        (7, 2),
        (9, 0),
        (0xa, 0),
        (0xb, 0),
        (0xb, 1),
        (0xd, 0),
        (0xd, 1),
        (0xd, 2),
        (0xd, 3),
        (0x14, 0),
        (0x1f, 0),
        (0x4000_0000, 0),
        (0x4000_0001, 0),
        (0x4000_0002, 0),
        (0x4000_0003, 0),
        (0x4000_0004, 0),
        (0x4000_0005, 0),
        (0x4000_0006, 0),
        (0x4000_0100, 0),
        (0x8000_0000, 0),
        (0x8000_0001, 0),
        (0x8000_0002, 0),
        (0x8000_0005, 0),
        (0x8000_0006, 0),
        (0x8000_0007, 0),
        (0x8000_0008, 0),
        (0x8000_000a, 0),
        (0x8000_001f, 0),
        (0x8000_0021, 0),
    ];
    for &(leaf, subleaf) in LEAVES {
        let CpuidResult { eax, ebx, ecx, edx } = forced(leaf, subleaf);
        for (register, value) in [("eax", eax), ("ebx", ebx), ("ecx", ecx), ("edx", edx)] {
            observe!(("{leaf:08x}.{subleaf}.{register}"), "{value:08x}");
        }
    }
}
