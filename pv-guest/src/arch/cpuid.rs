//! `cpuid`, as the processor has it and as a hypervisor shows it.

use core::arch::asm;

use crate::cpu_ops::facts;

/// EAX, EBX, ECX and EDX of a leaf, as this kernel is to see it.
pub fn shown(leaf: u32, subleaf: u32) -> [u32; 4] {
    (facts().cpuid)(leaf, subleaf)
}

/// The instruction itself.
pub fn plain(leaf: u32, subleaf: u32) -> [u32; 4] {
    let found = core::arch::x86_64::__cpuid_count(leaf, subleaf);
    [found.eax, found.ebx, found.ecx, found.edx]
}

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
