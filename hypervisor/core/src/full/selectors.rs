//! Loads of segment registers that the real processor refused, and stores that would show ring 1.

use super::Host;
use super::memory::GuestLinear;
use super::step::{Effect, Refused, Step};
use super::table;
use crate::emulate::{Fault, Gpr, Segment, mask};
use iced_x86::Code;

impl<M: GuestLinear, H: Host> Step<'_, M, H> {
    /// `mov` to a segment register.
    pub(super) fn load_segment(&mut self, segment: Segment) -> Result<(), Refused> {
        let selector = self.selector_operand(1)?;
        self.set_segment(segment, selector)
    }

    /// `pop fs` and `pop gs`, the only ones there are in 64-bit mode.
    pub(super) fn pop_segment(&mut self, segment: Segment) -> Result<(), Refused> {
        let width = match self.instruction.code() {
            Code::Popw_FS | Code::Popw_GS => 2,
            Code::Popd_FS | Code::Popd_GS => 4,
            _ => 8,
        };
        let selector = self.stack_word(0, width)? as u16;
        self.set_segment(segment, selector)?;
        self.regs.rsp = self.regs.rsp.wrapping_add(width as u64);
        Ok(())
    }

    /// `lss`, `lfs`, `lgs`: an offset and a selector behind it.
    pub(super) fn load_pointer(&mut self, segment: Segment) -> Result<(), Refused> {
        let Some(gpr) = Gpr::of(self.instruction.op0_register()) else { return Err(Refused::NotOurs) };
        let offset = self.load(1, 0, gpr.width() as usize)?;
        let selector = self.load(1, gpr.width() as u64, 2)? as u16;
        self.set_segment(segment, selector)?;
        gpr.write(&mut self.regs, offset & mask(gpr.width()));
        Ok(())
    }

    /// SDM volume 2, MOV: SS needs the level's own writable data, the others anything readable. A load of SS holds
    /// interrupts back for one instruction.
    fn set_segment(&mut self, segment: Segment, selector: u16) -> Result<(), Refused> {
        match segment {
            Segment::Cs => return Err(Fault::INVALID_OPCODE.into()),
            Segment::Ss => {
                self.cpu.ss = table::stack_target(&self.cpu, self.mem, selector)?;
                self.cpu.set_selectors(&mut self.regs);
                let next = self.next();
                self.cpu.shade(next);
                return Ok(());
            }
            _ => {}
        }
        let base = table::data_target(&self.cpu, self.mem, selector)?.map(table::base);
        let slot = match segment {
            Segment::Fs => &mut self.regs.fs,
            Segment::Gs => &mut self.regs.gs,
            Segment::Es => &mut self.regs.es,
            _ => &mut self.regs.ds,
        };
        *slot = selector;
        match (segment, base) {
            (Segment::Fs, Some(base)) => self.cpu.fs_base = base,
            (Segment::Gs, Some(base)) => self.cpu.gs_base = base,
            _ => {}
        }
        self.effect = Effect::LoadSegment { segment, selector };
        Ok(())
    }

    /// `mov` from CS or SS with the RPL the guest expects. The other selectors are what the guest loaded.
    pub(super) fn store_segment(&mut self, segment: Segment) -> Result<(), Refused> {
        let selector = match segment {
            Segment::Cs => self.cpu.cs.selector,
            Segment::Ss => self.cpu.ss,
            _ => return Err(Refused::NotOurs),
        };
        Ok(self.write_operand(selector as u64)?)
    }

    /// The offset and the selector of a far pointer in memory.
    fn far_pointer(&mut self) -> Result<(u64, u16, usize), Fault> {
        let width = match self.instruction.code() {
            Code::Jmp_m1616 | Code::Call_m1616 => 2,
            Code::Jmp_m1664 | Code::Call_m1664 => 8,
            _ => 4,
        };
        let rip = self.load(0, 0, width)?;
        Ok((rip, self.load(0, width as u64, 2)? as u16, width))
    }

    /// `jmp` and `call` to another code segment of the kernel's, which the real processor refused.
    pub(super) fn far_transfer(&mut self, call: bool) -> Result<(), Refused> {
        let (rip, selector, width) = self.far_pointer()?;
        let code = table::far_target(&self.cpu, self.mem, rip, selector)?;
        if call {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&self.next().to_le_bytes());
            bytes[width..width + 2].copy_from_slice(&self.cpu.cs.selector.to_le_bytes());
            bytes[width + 2..].fill(0);
            self.push(&bytes[..2 * width])?;
        }
        self.cpu.cs = code;
        self.cpu.set_selectors(&mut self.regs);
        self.regs.rip = rip;
        self.regs.rflags &= !crate::emulate::flag::RF;
        self.jumped = true;
        Ok(())
    }
}
