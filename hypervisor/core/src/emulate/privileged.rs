//! Privileged instructions of a PV guest, decided as Xen decides them.
//!
//! A guest's kernel gets what Xen emulates for it; everything else, and everything from its programs but ports
//! its kernel granted, stays the #GP the CPU raised.

use super::decode::{Decoded, Form, NoInstruction, classify, raw};
use super::forced::identify;
use super::io::{self, StringForm};
use super::{Effect, Emulated, Fault, Gpr, Mode, Retire, VirtualCpu};
use crate::debugreg::DebugRegs;
use crate::fpu;
use crate::msr;
use paravane_abi::errno::Errno;
use paravane_abi::regs::CpuUserRegs;

const CR0_TS: u64 = 1 << 3;
const CR4_TSD: u64 = 1 << 2;
const CR4_OSXSAVE: u64 = 1 << 18;

/// Decides a #GP with error code 0. `bytes` is what could be fetched at RIP.
pub fn privileged(cpu: &impl VirtualCpu, regs: &CpuUserRegs, bytes: &[u8]) -> Emulated {
    match raw(bytes, cpu.code_bits(), regs.rip) {
        Ok(instruction) => decide(cpu, regs, classify(&instruction)),
        Err(NoInstruction::Truncated) => {
            Emulated::Fault(Fault::page(regs.rip.wrapping_add(bytes.len() as u64), 0))
        }
        Err(NoInstruction::Invalid) => Emulated::NotOurs,
    }
}

fn decide(cpu: &impl VirtualCpu, regs: &CpuUserRegs, decoded: Decoded) -> Emulated {
    let Decoded { form, length } = decoded;
    match form {
        Form::Port { direction, width, port } => {
            return io::port(cpu, regs, length, (direction, width, port));
        }
        Form::StringPort { direction, width, repeat, address_width, segment } => {
            let form = StringForm { direction, width, repeat, address_width, segment, length };
            return io::string(cpu, regs, form);
        }
        // Refused below IOPL, and otherwise without effect: a guest that cleared its mask this way could set
        // it again by POPF, which does not trap.
        Form::Cli | Form::Sti if io::iopl_allows(cpu) => {
            return Emulated::Retire(Retire::new(length, cpu.code_bits()));
        }
        Form::Cpuid => {
            let leaf = cpu.cpuid(regs.rax as u32, regs.rcx as u32);
            return Emulated::Retire(identify(length, cpu.code_bits(), leaf));
        }
        // CR4.OSXSAVE is looked at before the ring (SDM volume 2, XSETBV); QEMU does it the other way round.
        Form::Xsetbv if cpu.cr4() & CR4_OSXSAVE == 0 => {
            return Emulated::Fault(Fault::INVALID_OPCODE);
        }
        _ => {}
    }
    if cpu.mode() == Mode::User && !user_may(cpu, form) {
        return Emulated::NotOurs;
    }
    match effect(cpu, regs, Retire::new(length, cpu.code_bits()), form) {
        Ok(retire) => Emulated::Retire(retire),
        Err(Refused::Unchanged) => Emulated::NotOurs,
        Err(Refused::With(fault)) => Emulated::Fault(fault),
    }
}

/// `rdtsc` traps in ring 3 also when it is the hypervisor that set CR4.TSD, not the guest's kernel.
fn user_may(cpu: &impl VirtualCpu, form: Form) -> bool {
    matches!(form, Form::Rdtsc | Form::Rdtscp) && cpu.cr4() & CR4_TSD == 0
}

enum Refused {
    /// The original exception stands.
    Unchanged,
    With(Fault),
}

fn effect(cpu: &impl VirtualCpu, regs: &CpuUserRegs, retire: Retire, form: Form) -> Result<Retire, Refused> {
    Ok(match form {
        Form::Clts => retire.effect(Effect::SetTs(false)),
        Form::ReadCr { cr, to } => retire.write(to, read_cr(cpu, cr)?),
        Form::WriteCr { cr, from } => retire.effect(write_cr(cpu, cr, from.read(regs))?),
        Form::ReadDr { dr, to } => retire.write(to, read_dr(cpu, dr)?),
        Form::WriteDr { dr, from } => {
            retire.effect(Effect::SetDebugRegs(write_dr(cpu, dr, from.read(regs))?))
        }
        Form::Rdmsr => {
            let value = read_msr(cpu, regs.rcx as u32)?;
            split(retire, value)
        }
        Form::Wrmsr => {
            let checked = msr::write(regs.rcx as u32, joined(regs), &cpu.msrs());
            retire.effect(Effect::WriteMsr(checked.map_err(|_| Refused::With(Fault::PROTECTION))?))
        }
        Form::Rdtsc => split(retire, cpu.tsc()),
        Form::Rdtscp => split(retire, cpu.tsc()).write(Gpr::RCX, cpu.msrs().tsc_aux as u64),
        Form::Xsetbv => {
            let value = xsetbv(cpu.cr4(), cpu.xcr0_mask(), regs).map_err(Refused::With)?;
            retire.effect(Effect::WriteXcr0(value))
        }
        Form::Wbinvd | Form::Wbnoinvd => retire.effect(Effect::FlushCaches),
        // Xen emulates none of these for a PV guest: `hlt`, `invlpg`, `swapgs`, `sysret`, table loads and
        // stores, CR8 and counters have hypercalls or no meaning.
        _ => return Err(Refused::Unchanged),
    })
}

fn split(retire: Retire, value: u64) -> Retire {
    retire.write(Gpr::RAX, value & 0xffff_ffff).write(Gpr::RDX, value >> 32)
}

/// EDX:EAX.
pub(crate) fn joined(regs: &CpuUserRegs) -> u64 {
    (regs.rax & 0xffff_ffff) | (regs.rdx << 32)
}

fn read_cr(cpu: &impl VirtualCpu, cr: u8) -> Result<u64, Refused> {
    match cr {
        0 => Ok(cpu.cr0()),
        2 => Ok(cpu.cr2()),
        3 => Ok(cpu.cr3()),
        4 => Ok(cpu.cr4()),
        _ => Err(Refused::Unchanged),
    }
}

fn write_cr(cpu: &impl VirtualCpu, cr: u8, value: u64) -> Result<Effect, Refused> {
    match cr {
        0 if (value ^ cpu.cr0()) & !CR0_TS == 0 => Ok(Effect::SetTs(value & CR0_TS != 0)),
        2 => Ok(Effect::SetCr2(value)),
        3 => Ok(Effect::LoadBase(value)),
        4 => Ok(Effect::WriteCr4(cpu.cr4_rule().apply(value))),
        _ => Err(Refused::Unchanged),
    }
}

fn debug_fault(errno: Errno) -> Refused {
    match errno {
        Errno::ENODEV => Refused::With(Fault::INVALID_OPCODE),
        _ => Refused::With(Fault::PROTECTION),
    }
}

fn read_dr(cpu: &impl VirtualCpu, dr: u8) -> Result<u64, Refused> {
    cpu.debug_registers().get(dr as u32, cpu.cr4()).map_err(debug_fault)
}

fn write_dr(cpu: &impl VirtualCpu, dr: u8, value: u64) -> Result<DebugRegs, Refused> {
    cpu.debug_registers().with(dr as u32, value, cpu.cr4()).map_err(debug_fault)
}

fn read_msr(cpu: &impl VirtualCpu, index: u32) -> Result<u64, Refused> {
    msr::read(index, &cpu.msrs(), || cpu.tsc(), || cpu.msr_exists(index))
        .map_err(|_| Refused::With(Fault::PROTECTION))
}

/// XCR0 takes what the policy shows (`mask`), in sets that the processor takes.
pub(crate) fn xsetbv(cr4: u64, mask: u64, regs: &CpuUserRegs) -> Result<u64, Fault> {
    if cr4 & CR4_OSXSAVE == 0 || mask == 0 {
        return Err(Fault::INVALID_OPCODE);
    }
    let value = joined(regs);
    if regs.rcx as u32 != 0 || value & !mask != 0 || !fpu::valid_xcr0(value) {
        return Err(Fault::PROTECTION);
    }
    Ok(value)
}
