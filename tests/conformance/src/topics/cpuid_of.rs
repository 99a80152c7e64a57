//! CPUID as the hypervisor shows it.

use core::arch::asm;
use core::arch::x86_64::CpuidResult;

/// By the forced-emulation prefix (xen/include/public/arch-x86/xen.h, `XEN_EMULATE_PREFIX`).
#[must_use]
pub fn forced_cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    let (eax, ebx, ecx, edx): (u32, u64, u32, u32);
    // SAFETY: emulated by the hypervisor, and without effect but on these registers.
    unsafe {
        asm!("mov {saved}, rbx", "ud2", ".ascii \"xen\"", "cpuid", "xchg {saved}, rbx", saved = out(reg) ebx,
             inlateout("eax") leaf => eax, inlateout("ecx") subleaf => ecx, lateout("edx") edx);
    }
    CpuidResult { eax, ebx: ebx as u32, ecx, edx }
}
