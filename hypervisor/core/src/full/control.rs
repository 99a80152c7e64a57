//! Control registers, debug registers and the rest of what only a kernel may set.

use super::Host;
use super::memory::{GuestLinear, canonical_range};
use super::state::{FullCpu, cr0, cr4, efer};
use super::step::{Effect, Refused, Step};
use crate::emulate::{Fault, Gpr, Segment, flag, joined, xsetbv};
use paravane_abi::errno::Errno;

/// Bits of CR3 that are no address: PWT and PCD, and others that are ignored.
const CR3_ROOT: u64 = 0x000f_ffff_ffff_f000;
/// The bits `lmsw` writes (SDM volume 2, LMSW).
const MSW: u64 = cr0::PE | cr0::MP | cr0::EM | cr0::TS;
const FPU: u64 = cr0::MP | cr0::EM | cr0::TS;

/// What CR0 becomes, by the rules of SDM volume 2, MOV to control registers. The guest's kernel is always in 64-bit
/// mode, in which neither paging nor protection can be left.
fn checked_cr0(value: u64) -> Result<u64, Fault> {
    let without_paging = value & (cr0::PG | cr0::PE) != cr0::PG | cr0::PE;
    let bad_caching = value & (cr0::NW | cr0::CD) == cr0::NW;
    if value >> 32 != 0 || without_paging || bad_caching {
        return Err(Fault::PROTECTION);
    }
    Ok((value & cr0::ALL) | cr0::ET)
}

/// What EFER becomes: LMA is read-only, LME cannot change while paging is on (SDM volume 3, 2.2.1 and 9.8.5).
pub(super) fn checked_efer(cpu: &FullCpu, value: u64) -> Result<u64, Fault> {
    let no_execute = if cpu.model.no_execute { efer::NXE } else { 0 };
    let known = efer::SCE | efer::LME | efer::LMA | no_execute;
    if value & !known != 0 || (value ^ cpu.efer) & efer::LME != 0 {
        return Err(Fault::PROTECTION);
    }
    Ok((value & !efer::LMA) | (cpu.efer & efer::LMA))
}

fn debug_fault(errno: Errno) -> Fault {
    match errno {
        Errno::ENODEV => Fault::INVALID_OPCODE,
        _ => Fault::PROTECTION,
    }
}

impl<M: GuestLinear, H: Host> Step<'_, M, H> {
    pub(super) fn read_cr(&mut self, cr: u8, to: Gpr) -> Result<(), Refused> {
        let value = match cr {
            0 => self.cpu.cr0,
            2 => self.cpu.cr2,
            3 => self.cpu.cr3,
            4 => self.cpu.cr4,
            8 => self.cpu.cr8 as u64,
            _ => return Err(Fault::INVALID_OPCODE.into()),
        };
        to.write(&mut self.regs, value);
        Ok(())
    }

    pub(super) fn write_cr(&mut self, cr: u8, value: u64) -> Result<(), Refused> {
        match cr {
            0 => self.set_cr0(checked_cr0(value)?),
            2 => self.cpu.cr2 = value,
            3 => self.load_cr3(value)?,
            4 => self.write_cr4(value)?,
            8 if value >> 4 == 0 => self.cpu.cr8 = value as u8,
            8 => return Err(Fault::PROTECTION.into()),
            _ => return Err(Fault::INVALID_OPCODE.into()),
        }
        Ok(())
    }

    fn set_cr0(&mut self, new: u64) {
        let changed = new ^ self.cpu.cr0;
        self.cpu.cr0 = new;
        if changed != 0 {
            self.effect = Effect::Control { paging: changed & cr0::WP != 0, fpu: changed & FPU != 0 };
        }
    }

    /// Bits above the guest's physical width are reserved; bit 63 exists with PCIDs alone.
    fn load_cr3(&mut self, value: u64) -> Result<(), Fault> {
        if value >> self.cpu.model.physical_bits.clamp(32, 52) != 0 {
            return Err(Fault::PROTECTION);
        }
        self.cpu.cr3 = value;
        self.effect = Effect::LoadCr3(value & CR3_ROOT);
        Ok(())
    }

    fn write_cr4(&mut self, value: u64) -> Result<(), Fault> {
        let xsave = if self.cpu.model.xcr0 != 0 { cr4::OSXSAVE } else { 0 };
        if value & !(self.cpu.model.cr4 | xsave) != 0 || value & cr4::PAE == 0 {
            return Err(Fault::PROTECTION);
        }
        let changed = value ^ self.cpu.cr4;
        self.cpu.cr4 = value;
        if changed != 0 {
            self.effect = Effect::Control { paging: changed & cr4::PAGING != 0, fpu: false };
        }
        Ok(())
    }

    pub(super) fn clts(&mut self) {
        self.set_cr0(self.cpu.cr0 & !cr0::TS);
    }

    /// `lmsw` sets PE but does not clear it.
    pub(super) fn lmsw(&mut self) -> Result<(), Refused> {
        let source = self.selector_operand(0)? as u64 & MSW;
        self.set_cr0((self.cpu.cr0 & !(MSW & !cr0::PE)) | source);
        Ok(())
    }

    /// `smsw`: CR0, as wide as the register, or sixteen bits of memory.
    pub(super) fn smsw(&mut self) -> Result<(), Refused> {
        Ok(self.write_operand(self.cpu.cr0)?)
    }

    pub(super) fn read_dr(&mut self, dr: u8, to: Gpr) -> Result<(), Refused> {
        let value = self.cpu.debug.get(dr as u32, self.cpu.cr4).map_err(debug_fault)?;
        to.write(&mut self.regs, value);
        Ok(())
    }

    /// As for a PV guest, a breakpoint on the hypervisor's range and general detection are refused: the real registers
    /// will hold the value.
    pub(super) fn write_dr(&mut self, dr: u8, value: u64) -> Result<(), Refused> {
        self.cpu.debug = self.cpu.debug.with(dr as u32, value, self.cpu.cr4).map_err(debug_fault)?;
        self.effect = Effect::Debug;
        Ok(())
    }

    pub(super) fn cli(&mut self) {
        self.cpu.interrupts = false;
    }

    /// `sti` holds interrupts back for one more instruction if they were off (SDM volume 2, STI).
    pub(super) fn sti(&mut self) {
        if !self.cpu.interrupts {
            self.cpu.interrupts = true;
            self.cpu.shade(self.next());
        }
    }

    pub(super) fn hlt(&mut self) {
        self.cpu.halted = true;
        self.effect = Effect::Halt;
    }

    /// A non-canonical address has no translation to forget (SDM volume 2, INVLPG).
    pub(super) fn invlpg(&mut self) {
        let (address, _) = self.address(0);
        if canonical_range(address, 1) {
            self.effect = Effect::InvalidatePage(address);
        }
    }

    pub(super) fn swapgs(&mut self) {
        core::mem::swap(&mut self.cpu.gs_base, &mut self.cpu.kernel_gs_base);
        self.effect = Effect::Bases;
    }

    /// AC stays where it is, in the real RFLAGS: the real processor has SMAP off, so that nothing but `pushf` sees it.
    pub(super) fn set_ac(&mut self, set: bool) {
        self.regs.rflags = if set { self.regs.rflags | flag::AC } else { self.regs.rflags & !flag::AC };
    }

    /// `rdfsbase` and its like, where the real CR4.FSGSBASE is off.
    pub(super) fn base(&mut self, segment: Segment, write: bool) -> Result<(), Refused> {
        if self.cpu.cr4 & cr4::FSGSBASE == 0 {
            return Err(Fault::INVALID_OPCODE.into());
        }
        let Some(gpr) = Gpr::of(self.instruction.op0_register()) else { return Err(Refused::NotOurs) };
        let slot = if segment == Segment::Fs { &mut self.cpu.fs_base } else { &mut self.cpu.gs_base };
        if !write {
            gpr.write(&mut self.regs, *slot);
            return Ok(());
        }
        let value = gpr.read(&self.regs);
        if !canonical_range(value, 1) {
            return Err(Fault::PROTECTION.into());
        }
        *slot = value;
        self.effect = Effect::Bases;
        Ok(())
    }

    pub(super) fn xsetbv(&mut self) -> Result<(), Refused> {
        self.cpu.xcr0 = xsetbv(self.cpu.cr4, self.cpu.model.xcr0, &self.regs)?;
        self.effect = Effect::Xcr0;
        Ok(())
    }

    pub(super) fn xgetbv(&mut self) -> Result<(), Refused> {
        if self.cpu.cr4 & cr4::OSXSAVE == 0 {
            return Err(Fault::INVALID_OPCODE.into());
        }
        if self.regs.rcx as u32 != 0 {
            return Err(Fault::PROTECTION.into());
        }
        self.set_pair(self.cpu.xcr0);
        Ok(())
    }

    pub(super) fn rdtsc(&mut self) {
        let tsc = self.host.tsc();
        self.set_pair(tsc);
    }

    pub(super) fn rdtscp(&mut self) -> Result<(), Refused> {
        if !self.cpu.model.tsc_aux {
            return Err(Fault::INVALID_OPCODE.into());
        }
        self.rdtsc();
        Gpr::RCX.write(&mut self.regs, self.cpu.tsc_aux as u64);
        Ok(())
    }

    pub(super) fn cpuid(&mut self) {
        let (leaf, subleaf) = (self.regs.rax as u32, self.regs.rcx as u32);
        let leaf =
            super::cpuid::shown(&self.cpu, leaf, subleaf, |leaf, subleaf| self.host.cpuid(leaf, subleaf));
        for (gpr, value) in
            [(Gpr::RAX, leaf.eax), (Gpr::RBX, leaf.ebx), (Gpr::RCX, leaf.ecx), (Gpr::RDX, leaf.edx)]
        {
            gpr.write(&mut self.regs, value as u64);
        }
    }

    pub(super) fn rdmsr(&mut self) -> Result<(), Refused> {
        let value = super::msrs::read(&self.cpu, self.host, self.regs.rcx as u32)?;
        self.set_pair(value);
        Ok(())
    }

    pub(super) fn wrmsr(&mut self) -> Result<(), Refused> {
        self.effect = super::msrs::write(&mut self.cpu, self.regs.rcx as u32, joined(&self.regs))?;
        Ok(())
    }
}
