//! Ports: who may use them, and transfers one element at a time.

use super::Host;
use super::memory::{GuestLinear, Linear, Privilege};
use super::state::{FullCpu, cr4};
use super::step::{Refused, Step};
use crate::cpuid::CpuidLeaf;
use crate::debugreg::DebugRegs;
use crate::descriptor::CodeBits;
use crate::emulate::{
    Cr4Rule, Direction, Effect as PortEffect, Emulated, Fault, Form, Mode, Port, Retire, Segment, StringForm,
    StringIo, VirtualCpu, mask, port, string, vector,
};
use crate::msr::MsrView;
use paravane_abi::regs::CpuUserRegs;

/// Where a 64-bit TSS says its I/O bitmap begins (SDM volume 1, 19.5.2).
const BITMAP_OFFSET: u64 = 0x66;

/// One access to a port, to be made by whoever owns the devices, then handed back with what was read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "make the access, then finish it"]
pub struct PortAccess {
    /// From or to the port.
    pub direction: Direction,
    /// The port.
    pub port: u16,
    /// Bytes: 1, 2 or 4.
    pub width: u8,
    /// What is written; 0 for a read.
    pub value: u32,
    rest: Rest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rest {
    Register(Retire),
    Element(StringIo),
}

/// What a port instruction is.
pub(super) enum PortStep {
    /// An access is due.
    Access(PortAccess),
    /// A repeated one with nothing to repeat.
    Nothing(StringIo),
}

/// The processor as the code for ports asks for it.
struct View<'a, H> {
    cpu: &'a FullCpu,
    host: &'a H,
    /// What the I/O bitmap says of the one port the instruction names.
    granted: bool,
}

impl<H: Host> VirtualCpu for View<'_, H> {
    fn mode(&self) -> Mode {
        self.cpu.mode
    }

    fn code_bits(&self) -> CodeBits {
        self.cpu.cs.bits
    }

    fn iopl(&self) -> u8 {
        self.cpu.iopl
    }

    fn architectural_iopl(&self) -> bool {
        true
    }

    fn cr0(&self) -> u64 {
        self.cpu.cr0
    }

    fn cr2(&self) -> u64 {
        self.cpu.cr2
    }

    fn cr3(&self) -> u64 {
        self.cpu.cr3
    }

    fn cr4(&self) -> u64 {
        self.cpu.cr4
    }

    fn cr4_rule(&self) -> Cr4Rule {
        Cr4Rule { settable: self.cpu.model.cr4, visible: cr4::PAE }
    }

    fn debug_registers(&self) -> DebugRegs {
        self.cpu.debug
    }

    fn msrs(&self) -> MsrView {
        super::msrs::view(self.cpu)
    }

    fn msr_exists(&self, _index: u32) -> bool {
        false
    }

    fn tsc(&self) -> u64 {
        self.host.tsc()
    }

    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidLeaf {
        self.host.cpuid(leaf, subleaf)
    }

    fn xcr0_mask(&self) -> u64 {
        self.cpu.model.xcr0
    }

    fn segment_base(&self, segment: Segment) -> Option<u64> {
        Some(match segment {
            Segment::Fs => self.cpu.fs_base,
            Segment::Gs => self.cpu.gs_base,
            _ => 0,
        })
    }

    fn io_bitmap(&self, _port: u16, _width: u8) -> bool {
        self.granted
    }
}

/// Whether the guest's TSS grants `width` ports from `port` (SDM volume 1, 19.5.2): the two bytes that hold the first
/// port's bit and those behind it must lie within the limit.
fn bitmap_grants(cpu: &FullCpu, mem: &mut impl GuestLinear, port: u16, width: u8) -> Result<bool, Fault> {
    let mut word = |offset: u64| {
        if offset + 1 > cpu.tr.limit as u64 {
            return Ok(None);
        }
        let address = cpu.tr.base.wrapping_add(offset);
        mem.number(address, 2, Privilege::Supervisor).map(Some).map_err(|why| why.or(Fault::PROTECTION))
    };
    let Some(start) = word(BITMAP_OFFSET)? else { return Ok(false) };
    let Some(bits) = word(start + (port >> 3) as u64)? else { return Ok(false) };
    let wanted = ((1 << width) - 1) << (port & 7);
    Ok(bits & wanted == 0)
}

impl<M: GuestLinear, H: Host> Step<'_, M, H> {
    fn granted(&mut self, port: u16, width: u8) -> Result<bool, Fault> {
        if self.cpu.cpl() <= self.cpu.iopl as u16 {
            return Ok(true);
        }
        bitmap_grants(&self.cpu, self.mem, port, width)
    }

    /// `in`, `out`, `ins`, `outs`: permission, then for a string the element in memory, read or found writable.
    pub(super) fn port(&mut self, form: Form) -> Result<PortStep, Refused> {
        let length = self.instruction.len() as u8;
        let (number, width) = match form {
            Form::Port { port: Port::Immediate(number), width, .. } => (number as u16, width),
            Form::Port { width, .. } | Form::StringPort { width, .. } => (self.regs.rdx as u16, width),
            _ => return Err(Refused::NotOurs),
        };
        let granted = self.granted(number, width)?;
        let view = View { cpu: &self.cpu, host: self.host, granted };
        let emulated = match form {
            Form::Port { direction, width, port: named } => {
                port(&view, &self.regs, length, (direction, width, named))
            }
            Form::StringPort { direction, width, repeat, address_width, segment } => {
                let form = StringForm { direction, width, repeat, address_width, segment, length };
                string(&view, &self.regs, form)
            }
            _ => return Err(Refused::NotOurs),
        };
        match emulated {
            Emulated::Retire(retire) => Ok(PortStep::Access(register_access(retire, number, width))),
            Emulated::StringIo(io) if io.count == 0 => Ok(PortStep::Nothing(io)),
            Emulated::StringIo(io) => Ok(PortStep::Access(self.element(io)?)),
            Emulated::Fault(fault) => Err(fault.into()),
            Emulated::NotOurs => Err(Refused::NotOurs),
        }
    }

    /// A port read has effects, so the memory it goes to is asked first.
    fn element(&mut self, io: StringIo) -> Result<PortAccess, Fault> {
        let privilege = self.privilege;
        let refused = Fault { vector: vector::PROTECTION, error_code: Some(0), address: None };
        let value = match io.direction {
            Direction::Out => self.mem.number(io.address, io.width as usize, privilege),
            Direction::In => self.mem.probe(io.address, io.width as usize, privilege).map(|()| 0),
        }
        .map_err(|why| why.or(refused))?;
        Ok(PortAccess {
            direction: io.direction,
            port: io.port,
            width: io.width,
            value: value as u32,
            rest: Rest::Element(io),
        })
    }
}

fn register_access(retire: Retire, port: u16, width: u8) -> PortAccess {
    let (direction, value) = match retire.effect {
        PortEffect::PortWrite { value, .. } => (Direction::Out, value),
        _ => (Direction::In, 0),
    };
    PortAccess { direction, port, width, value, rest: Rest::Register(retire) }
}

impl PortAccess {
    /// Completes the instruction, or this element of it, with what a read found. The error is a #PF: the memory changed
    /// since it was asked, and the element is lost.
    pub(super) fn finish(
        self,
        cpu: &mut FullCpu,
        regs: &mut CpuUserRegs,
        mem: &mut impl GuestLinear,
        value: u32,
    ) -> Result<(), Fault> {
        let value = value & mask(self.width) as u32;
        cpu.pending_debug |= match self.rest {
            Rest::Register(retire) => retire.with_port_value(value).commit(regs),
            Rest::Element(io) => {
                if io.direction == Direction::In {
                    let privilege = match cpu.mode {
                        Mode::Kernel => Privilege::Supervisor,
                        Mode::User => Privilege::User,
                    };
                    mem.put(io.address, &value.to_le_bytes()[..(self.width as usize).min(4)], privilege)
                        .map_err(|why| why.or(Fault::PROTECTION))?;
                }
                io.commit(regs, 1)
            }
        };
        Ok(())
    }
}
