//! Port instructions: who may use which port, and string transfers in bounded steps.

use super::decode::{Direction, Port};
use super::gpr::{Gpr, mask};
use super::{Effect, Emulated, Fault, Mode, Retire, Segment, VirtualCpu, advance, flag, vector};
use crate::addr::VirtAddr;
use crate::debugreg::{CR4_DE, DR7_LENGTHS};
use crate::descriptor::CodeBits;
use paravane_abi::regs::CpuUserRegs;

/// The most items one step of a repeated string transfer moves; the instruction restarts for the rest, so that
/// events get their turn.
const STEP: u64 = 64;

/// Whether the guest may use its ports: by virtual IOPL, else by the bitmap its kernel set.
pub(super) fn permitted(cpu: &impl VirtualCpu, port: u16, width: u8) -> Result<(), Fault> {
    if iopl_allows(cpu) || cpu.io_bitmap(port, width) { Ok(()) } else { Err(Fault::PROTECTION) }
}

/// Xen counts a PV kernel as ring 1 here (as ring 0 with `architectural_iopl`), whatever ring it runs in.
pub(super) fn iopl_allows(cpu: &impl VirtualCpu) -> bool {
    let level = match cpu.mode() {
        Mode::User => 3,
        Mode::Kernel if cpu.architectural_iopl() => 0,
        Mode::Kernel => 1,
    };
    level <= cpu.iopl()
}

/// I/O breakpoints are emulated, never loaded into hardware: a port of the guest's is not a port of the machine.
fn breakpoints(cpu: &impl VirtualCpu, port: u16, width: u8) -> u32 {
    let debug = cpu.debug_registers();
    if debug.dr7_io == 0 || cpu.cr4() & CR4_DE == 0 {
        return 0;
    }
    let (first, end) = (port as u64, port as u64 + width as u64);
    (0..4).filter(|&n| debug.dr7_io & (3 << (2 * n)) != 0).fold(0, |hit, n| {
        let length = DR7_LENGTHS[(debug.dr7 >> (18 + 4 * n)) as usize & 3];
        let start = debug.dr[n] & !(length - 1);
        if start < end && start.saturating_add(length) > first { hit | 1 << n } else { hit }
    })
}

/// `in` and `out`.
pub(crate) fn port(
    cpu: &impl VirtualCpu,
    regs: &CpuUserRegs,
    length: u8,
    (direction, width, port): (Direction, u8, Port),
) -> Emulated {
    let port = match port {
        Port::Immediate(port) => port as u16,
        Port::Dx => regs.rdx as u16,
    };
    if let Err(fault) = permitted(cpu, port, width) {
        return Emulated::Fault(fault);
    }
    let effect = match direction {
        Direction::In => Effect::PortRead { port, width },
        Direction::Out => Effect::PortWrite { port, width, value: (regs.rax & mask(width)) as u32 },
    };
    let mut retire = Retire::new(length, cpu.code_bits()).effect(effect);
    retire.breakpoints = breakpoints(cpu, port, width);
    Emulated::Retire(retire)
}

/// One bounded step of `ins` or `outs`.
///
/// The caller moves up to `count` items of `width` bytes between `port` and guest memory, the first at
/// `address` and each next one `stride` bytes further, then calls [`StringIo::commit`] with the number moved.
/// If the memory of an item cannot be reached it commits those before, then injects #PF.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "move the data, then commit"]
pub struct StringIo {
    /// To or from the port.
    pub direction: Direction,
    /// The port.
    pub port: u16,
    /// Bytes of an item.
    pub width: u8,
    /// Linear address of the first item. All items are checked to be guest addresses.
    pub address: u64,
    /// Items in this step; 0 if the count register was 0.
    pub count: u64,
    /// Distance from one item to the next.
    pub stride: i64,
    /// DR6 bits of I/O breakpoints hit.
    pub breakpoints: u32,
    repeat: bool,
    address_width: u8,
    length: u8,
    bits: CodeBits,
}

/// The operands of a string instruction.
pub(crate) struct StringForm {
    pub direction: Direction,
    pub width: u8,
    pub repeat: bool,
    pub address_width: u8,
    pub segment: Segment,
    pub length: u8,
}

/// `ins` and `outs`.
pub(crate) fn string(cpu: &impl VirtualCpu, regs: &CpuUserRegs, form: StringForm) -> Emulated {
    let StringForm { direction, width, repeat, address_width, segment, length } = form;
    let port = regs.rdx as u16;
    if let Err(fault) = permitted(cpu, port, width) {
        return Emulated::Fault(fault);
    }
    let Some(base) = cpu.segment_base(segment) else { return Emulated::NotOurs };
    let bits = cpu.code_bits();
    let at = |register: Gpr| register.at_width(address_width).read(regs);
    let offset = at(index(direction));
    let stride = if regs.rflags & flag::DF != 0 { -(width as i64) } else { width as i64 };
    let breakpoints = breakpoints(cpu, port, width);
    let wanted = if repeat { at(Gpr::RCX) } else { 1 };
    let step = if breakpoints != 0 { 1 } else { STEP };
    let fits = items_before_wrap(offset, stride, width, address_width);
    let count = wanted.min(step).min(fits.max(1));
    let address = base.wrapping_add(offset);
    let address = if bits == CodeBits::Bits64 { address } else { address & 0xffff_ffff };
    let last = address.wrapping_add_signed(stride.wrapping_mul(count.saturating_sub(1) as i64));
    let reachable =
        |item: u64| VirtAddr::is_guest(item) && VirtAddr::is_guest(item.wrapping_add(width as u64 - 1));
    if count != 0 && !(reachable(address) && reachable(last)) {
        let vector = if segment == Segment::Ss { vector::STACK } else { vector::PROTECTION };
        return Emulated::Fault(Fault { vector, error_code: Some(0), address: None });
    }
    Emulated::StringIo(StringIo {
        direction,
        port,
        width,
        address,
        count,
        stride,
        breakpoints: if count == 0 { 0 } else { breakpoints },
        repeat,
        address_width,
        length,
        bits,
    })
}

const fn index(direction: Direction) -> Gpr {
    match direction {
        Direction::In => Gpr::RDI,
        Direction::Out => Gpr::RSI,
    }
}

/// Items until the offset wraps around its address width.
fn items_before_wrap(offset: u64, stride: i64, width: u8, address_width: u8) -> u64 {
    let room = if stride > 0 { mask(address_width) - offset } else { offset };
    (room / width as u64).saturating_add(1)
}

impl StringIo {
    /// Steps the index and count registers by `moved` items, and RIP if the instruction is complete. The result
    /// is the DR6 bits of the #DB that is due.
    #[must_use = "a single step or an I/O breakpoint is due"]
    pub fn commit(&self, regs: &mut CpuUserRegs, moved: u64) -> u32 {
        let moved = moved.min(self.count);
        let index = index(self.direction).at_width(self.address_width);
        if moved != 0 {
            let offset = index.read(regs).wrapping_add_signed(self.stride.wrapping_mul(moved as i64));
            index.write(regs, offset);
        }
        let left = self.count_left(regs, moved);
        let breakpoints = if moved == 0 { 0 } else { self.breakpoints };
        if left != 0 {
            return breakpoints;
        }
        advance(regs, self.length, self.bits) | breakpoints
    }

    /// Steps the count register; without a repeat prefix there is one item to move.
    fn count_left(&self, regs: &mut CpuUserRegs, moved: u64) -> u64 {
        if !self.repeat {
            return 1 - moved;
        }
        let counter = Gpr::RCX.at_width(self.address_width);
        let left = counter.read(regs).wrapping_sub(moved);
        if moved != 0 {
            counter.write(regs, left);
        }
        left
    }
}
