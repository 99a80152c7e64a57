//! Returns: from a handler, from a system call, to another segment; and the flags on a stack.

use super::Host;
use super::memory::{GuestLinear, canonical_range};
use super::state::{CodeSegment, efer};
use super::step::{Refused, Step};
use super::table;
use crate::descriptor::CodeBits;
use crate::emulate::{Fault, Mode, flag, mask};
use iced_x86::{Code, OpKind};

/// What `sysret` loads of RFLAGS: neither RF nor VM, nothing reserved (SDM volume 2, SYSRET).
const SYSRET_FLAGS: u64 = 0x003c_7fd7;
/// What `popf` leaves alone at any level (SDM volume 2, POPF).
const POPF_KEEPS: u64 = flag::VM | flag::RF | flag::VIF | flag::VIP;

impl<M: GuestLinear, H: Host> Step<'_, M, H> {
    /// `iret` of the kernel's, by SDM volume 2, IRET in 64-bit mode: five words whatever the level.
    pub(super) fn iret(&mut self, width: u8) -> Result<(), Refused> {
        if self.regs.rflags & flag::NT != 0 {
            return Err(Fault::PROTECTION.into());
        }
        let mut words = [0; 5];
        for (word, n) in words.iter_mut().zip(0..) {
            *word = self.stack_word(n * width as u64, width as usize)?;
        }
        let [rip, cs, flags, rsp, ss] = words;
        let target = table::return_target(&self.cpu, self.mem, rip, cs as u16, Some(ss as u16))?;
        // A narrow image has no upper flags to load.
        let flags =
            if width == 2 { (self.cpu.flags(self.regs.rflags) & !0xffff) | flags } else { flags & mask(4) };
        self.regs.rflags = self.cpu.load_flags(flags);
        self.enter(target.mode, target.code, target.ss, rip);
        self.regs.rsp = rsp;
        self.cpu.nmi_blocked = false;
        Ok(())
    }

    fn enter(&mut self, mode: Mode, code: CodeSegment, ss: u16, rip: u64) {
        (self.cpu.mode, self.cpu.cs, self.cpu.ss) = (mode, code, ss);
        self.cpu.set_selectors(&mut self.regs);
        self.cpu.shadow = None;
        self.regs.rip = rip;
        self.jumped = true;
    }

    /// Flat code and stack of ring 3, as `sysret` and `sysexit` load them without looking at a table.
    fn enter_program(&mut self, cs: u16, wide: bool, rip: u64) {
        let bits = if wide { CodeBits::Bits64 } else { CodeBits::Bits32 };
        self.enter(Mode::User, CodeSegment { selector: cs | 3, bits, base: 0 }, 0, rip);
    }

    /// SDM volume 2, SYSRET; a non-canonical RCX raises #GP in the kernel, as on Intel's processors.
    pub(super) fn sysret(&mut self) -> Result<(), Refused> {
        if self.cpu.efer & efer::SCE == 0 {
            return Err(Fault::INVALID_OPCODE.into());
        }
        let wide = self.instruction.code() == Code::Sysretq;
        let rip = if wide { self.regs.rcx } else { self.regs.rcx & mask(4) };
        if !canonical_range(rip, 1) {
            return Err(Fault::PROTECTION.into());
        }
        let base = (self.cpu.star >> 48) as u16;
        self.regs.rflags = self.cpu.load_flags(self.regs.r11 & SYSRET_FLAGS);
        self.enter_program(base.wrapping_add(if wide { 16 } else { 0 }), wide, rip);
        self.set_stack(base.wrapping_add(8));
        Ok(())
    }

    fn set_stack(&mut self, selector: u16) {
        self.cpu.ss = selector | 3;
        self.cpu.set_selectors(&mut self.regs);
    }

    /// SDM volume 2, SYSEXIT.
    pub(super) fn sysexit(&mut self) -> Result<(), Refused> {
        let base = self.cpu.sysenter_cs as u16;
        let wide = self.instruction.code() == Code::Sysexitq;
        let cut = if wide { u64::MAX } else { mask(4) };
        let (rip, rsp) = (self.regs.rdx & cut, self.regs.rcx & cut);
        if table::is_null(base) || !canonical_range(rip, 1) || !canonical_range(rsp, 1) {
            return Err(Fault::PROTECTION.into());
        }
        let (code, stack) = if wide { (32, 40) } else { (16, 24) };
        self.enter_program(base.wrapping_add(code), wide, rip);
        self.regs.rsp = rsp;
        self.set_stack(base.wrapping_add(stack));
        Ok(())
    }

    /// SDM volume 2, SYSENTER. The real SYSENTER_CS is null, so that it raises #GP.
    pub(super) fn sysenter(&mut self) -> Result<(), Refused> {
        let selector = self.cpu.sysenter_cs as u16 & !3;
        if table::is_null(selector) {
            return Err(Fault::PROTECTION.into());
        }
        let code = CodeSegment { selector, bits: CodeBits::Bits64, base: 0 };
        self.cpu.interrupts = false;
        self.enter(Mode::Kernel, code, selector.wrapping_add(8), self.cpu.sysenter_eip);
        self.regs.rsp = self.cpu.sysenter_esp;
        self.regs.rflags &= !(flag::RF | flag::VM);
        Ok(())
    }

    /// `retf` of the kernel's that faulted, mostly because the selector on the stack has RPL 0 (SDM volume 2, RET).
    pub(super) fn far_return(&mut self) -> Result<(), Refused> {
        let width = match self.instruction.code() {
            Code::Retfw | Code::Retfw_imm16 => 2,
            Code::Retfq | Code::Retfq_imm16 => 8,
            _ => 4,
        };
        let extra = match self.instruction.op0_kind() {
            OpKind::Immediate16 => self.instruction.immediate16() as u64,
            _ => 0,
        };
        let word = width as u64;
        let rip = self.stack_word(0, width)?;
        let cs = self.stack_word(word, width)? as u16;
        let outer = cs & 3 == 3;
        let (rsp, ss) = if outer {
            let rsp = self.stack_word(2 * word + extra, width)?;
            (rsp.wrapping_add(extra), Some(self.stack_word(3 * word + extra, width)? as u16))
        } else {
            (self.regs.rsp.wrapping_add(2 * word + extra), None)
        };
        let target = table::return_target(&self.cpu, self.mem, rip, cs, ss)?;
        self.enter(target.mode, target.code, target.ss, rip);
        self.regs.rsp = rsp;
        self.regs.rflags &= !flag::RF;
        Ok(())
    }

    /// The width of `popf` and `pushf`: eight bytes in 64-bit mode, two with a prefix.
    fn flags_width(&self) -> usize {
        match self.instruction.code() {
            Code::Popfw | Code::Pushfw => 2,
            Code::Popfd | Code::Pushfd => 4,
            _ => 8,
        }
    }

    /// `popf` as it should be: it loads IF below or at IOPL, IOPL in ring 0 (SDM volume 2, POPF).
    pub(super) fn popf(&mut self) -> Result<(), Refused> {
        let width = self.flags_width();
        let image = self.stack_word(0, width)?;
        let mut keeps = POPF_KEEPS | if width == 2 { !0xffff } else { 0 };
        if self.cpu.mode == Mode::User {
            keeps |= flag::IOPL | if self.cpu.iopl < 3 { flag::IF } else { 0 };
        }
        let old = self.cpu.flags(self.regs.rflags);
        self.regs.rflags = self.cpu.load_flags((old & keeps) | (image & !keeps & mask(4)));
        self.regs.rsp = self.regs.rsp.wrapping_add(width as u64);
        Ok(())
    }

    /// `pushf` as it should be: IF and IOPL as the guest set them, RF clear (SDM volume 2, PUSHF).
    pub(super) fn pushf(&mut self) -> Result<(), Refused> {
        let image = self.cpu.flags(self.regs.rflags) & !(flag::RF | flag::VM);
        let width = self.flags_width();
        Ok(self.push(&image.to_le_bytes()[..width])?)
    }
}
