//! The forced-emulation prefix: `ud2; .ascii "xen"` before `cpuid`, by which a PV kernel asks for the filtered
//! leaves although the CPU does not trap on `cpuid`.

use super::{Emulated, Fault, Gpr, Retire, VirtualCpu};
use crate::cpuid::CpuidLeaf;
use crate::descriptor::CodeBits;
use paravane_abi::cpuid::{CPUID_INSN, EMULATE_PREFIX, EMULATED_CPUID_LEN};
use paravane_abi::regs::CpuUserRegs;

/// Decides a #UD: emulates a prefixed `cpuid`, leaves everything else to the guest.
///
/// `bytes` is what could be fetched at RIP. As Xen does, bytes missing in the middle of what looks like the
/// prefix raise a #PF where they are missing.
pub fn forced(cpu: &impl VirtualCpu, regs: &CpuUserRegs, bytes: &[u8]) -> Emulated {
    let mut wanted = EMULATE_PREFIX.iter().chain(CPUID_INSN.iter());
    if !bytes.iter().zip(&mut wanted).all(|(byte, want)| byte == want) {
        return Emulated::NotOurs;
    }
    if (bytes.len() as u64) < EMULATED_CPUID_LEN {
        let missing = regs.rip.wrapping_add(bytes.len() as u64);
        return Emulated::Fault(Fault::page(missing, 0));
    }
    let leaf = cpu.cpuid(regs.rax as u32, regs.rcx as u32);
    Emulated::Retire(identify(EMULATED_CPUID_LEN as u8, cpu.code_bits(), leaf))
}

/// `cpuid` with this answer.
pub(super) fn identify(length: u8, bits: CodeBits, leaf: CpuidLeaf) -> Retire {
    Retire::new(length, bits)
        .write(Gpr::RAX, leaf.eax as u64)
        .write(Gpr::RBX, leaf.ebx as u64)
        .write(Gpr::RCX, leaf.ecx as u64)
        .write(Gpr::RDX, leaf.edx as u64)
}
