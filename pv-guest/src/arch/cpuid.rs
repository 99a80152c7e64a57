//! `cpuid` as the hypervisor shows it.

use core::arch::asm;

/// EAX, EBX, ECX and EDX of a leaf, by the forced-emulation prefix: executed as it is, the instruction would tell what
/// the processor has, much of which no kernel of this kind may use.
pub fn forced(leaf: u32, subleaf: u32) -> [u32; 4] {
    let (eax, ebx, ecx, edx): (u32, u64, u32, u32);
    // SAFETY: the prefix makes the hypervisor emulate the instruction, which changes these registers alone; RBX is
    // the compiler's own and is given back.
    unsafe {
        asm!(
            "mov {keep}, rbx",
            "ud2",
            ".ascii \"xen\"",
            "cpuid",
            "xchg {keep}, rbx",
            keep = out(reg) ebx,
            inout("eax") leaf => eax,
            inout("ecx") subleaf => ecx,
            out("edx") edx,
        );
    }
    [eax, ebx as u32, ecx, edx]
}
