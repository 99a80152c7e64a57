//! The virtual processor with all it stands on: what the integration of a fully virtualized guest calls.
//!
//! One visit to the hypervisor is: one of [`Processor::exception`], [`Processor::software`], [`Processor::syscall`],
//! [`Processor::deliver`] or, for the hypervisor's own interrupts, [`Processor::entered`]; then what the [`Outcome`] asks
//! for; then [`Processor::resume`], always, and what its [`Entry`] says.

use super::decide::{Decided, decide};
use super::deliver::{Delivery, deliver, syscall};
use super::event::{BREAKPOINT, Event, OVERFLOW};
use super::memory::{GuestLinear, Privilege, canonical_range};
use super::patch::PatchTable;
use super::ports::PortAccess;
use super::segments::{GdtCopy, RealGdt, Resync};
use super::state::FullCpu;
use super::step::{Effect, Refused, Step};
use super::{Host, table};
use crate::addr::VirtAddr;
use crate::descriptor::CodeBits;
use crate::emulate::{
    Fault, Form, MAX_LENGTH, Mode, NoInstruction, Segment, classify, flag, mask, raw, vector,
};
use crate::iret::exit_flags;
use arrayvec::ArrayVec;
use iced_x86::Instruction;
use paravane_abi::regs::CpuUserRegs;

/// An exception of the real processor's while the guest ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// The vector.
    pub vector: u8,
    /// The error code, for vectors that have one.
    pub error_code: u32,
    /// CR2, for a #PF that is the guest's own by its tables.
    pub address: u64,
    /// DR6's conditions with positive polarity, for a #DB.
    pub conditions: u32,
}

/// What is to be done before the guest goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the guest waits for it"]
pub enum Outcome {
    /// Nothing.
    Resume,
    /// This; it cannot fail.
    Do(Effect),
    /// This access to a port; then [`Processor::finish_port`].
    Port(PortAccess),
    /// Nothing any more: a triple fault.
    Shutdown,
}

/// How the guest goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the guest enters, waits, or has ended"]
pub enum Entry {
    /// With these registers, as they are; [`FullCpu::mode`] says whose view of memory it needs.
    Enter,
    /// It waits. Without virtual IF nothing but an NMI wakes it.
    Halted,
    /// It has ended, by a triple fault.
    Shutdown,
}

/// A virtual processor at work.
#[derive(Debug)]
pub struct Processor<'a, M, G, H> {
    /// Its registers.
    pub cpu: &'a mut FullCpu,
    /// The registers the real processor saved and will load.
    pub regs: &'a mut CpuUserRegs,
    /// Memory by the guest's tables.
    pub mem: &'a mut M,
    /// What is known of the real descriptor table.
    pub gdt: &'a mut GdtCopy,
    /// The real descriptor table.
    pub real: &'a mut G,
    /// The real processor's answers.
    pub host: &'a H,
    /// Sites at which the guest's code was replaced.
    pub patches: &'a PatchTable,
}

impl<M: GuestLinear, G: RealGdt, H: Host> Processor<'_, M, G, H> {
    /// Notes an entry that is the hypervisor's own business, such as an interrupt.
    pub fn entered(&mut self) {
        self.cpu.entered(self.regs, self.real);
    }

    /// An exception the real processor raised: emulated, or the guest's.
    pub fn exception(&mut self, trap: Trap) -> Outcome {
        self.entered();
        let reported = Event::reported(trap.vector, trap.error_code);
        match trap.vector {
            BREAKPOINT | OVERFLOW => self.trapped(trap.vector),
            vector::DEBUG => {
                self.cpu.debug = self.cpu.debug.with_conditions(trap.conditions);
                self.deliver(reported)
            }
            vector::PAGE_FAULT => self.deliver(Event::page_fault(trap.address, trap.error_code)),
            vector::NOT_PRESENT | vector::STACK | vector::PROTECTION => {
                match self.refreshed(trap.error_code) {
                    Ok(true) => Outcome::Resume,
                    Ok(false) => self.instruction(reported),
                    Err(fault) => self.deliver(Event::exception(fault)),
                }
            }
            vector::INVALID_OPCODE => self.instruction(reported),
            _ => self.deliver(reported),
        }
    }

    /// A software interrupt that a real gate let through, with RIP behind an instruction of two bytes.
    pub fn software(&mut self, vector: u8) -> Outcome {
        self.entered();
        self.after(vector, 2)
    }

    /// `syscall`, as the real processor leaves it; `compatibility` says that it came by CSTAR. CS and SS of the registers
    /// are not looked at, as the real processor does not save them.
    pub fn syscall(&mut self, compatibility: bool) -> Outcome {
        outcome(syscall(self.cpu, self.regs, self.mem, compatibility))
    }

    /// Delivers an event: an NMI, or an exception that somebody else found.
    pub fn deliver(&mut self, event: Event) -> Outcome {
        outcome(deliver(self.cpu, self.regs, self.mem, event))
    }

    /// Completes a port instruction; `value` is what a read found.
    pub fn finish_port(&mut self, access: PortAccess, value: u32) -> Outcome {
        match access.finish(self.cpu, self.regs, self.mem, value) {
            Ok(()) => {
                self.cpu.shadow = None;
                Outcome::Resume
            }
            Err(fault) => self.deliver(Event::exception(fault)),
        }
    }

    /// Prepares the return to the guest: a #DB that is due, an interrupt if the guest takes one (`interrupt` acknowledges
    /// and names it; it is asked only then), and registers that the real processor can load.
    ///
    /// After [`Entry::Enter`] RFLAGS has IF set and IOPL 0, CS and SS name present segments of ring 1 or ring 3, and RIP
    /// is canonical, whatever the guest did.
    pub fn resume(&mut self, interrupt: impl FnOnce() -> Option<u8>) -> Entry {
        let due = core::mem::take(&mut self.cpu.pending_debug);
        if due != 0 {
            self.cpu.debug = self.cpu.debug.with_conditions(due);
            if self.deliver(Event::reported(vector::DEBUG, 0)) == Outcome::Shutdown {
                return Entry::Shutdown;
            }
        }
        // Stepping over the last instruction below the hole: the next fetch raises #GP (SDM volume 1, 3.3.7.1).
        if !VirtAddr::is_canonical(self.regs.rip)
            && self.deliver(Event::exception(Fault::PROTECTION)) == Outcome::Shutdown
        {
            return Entry::Shutdown;
        }
        if self.cpu.takes_interrupts()
            && let Some(vector) = interrupt()
            && self.deliver(Event::interrupt(vector)) == Outcome::Shutdown
        {
            return Entry::Shutdown;
        }
        if self.cpu.halted {
            return Entry::Halted;
        }
        self.gdt.set_user_code(self.real, self.cpu.mode == Mode::User);
        (self.regs.cs, self.regs.ss) = self.gdt.real_selectors(self.cpu, self.regs.rip, self.real);
        self.regs.rflags = exit_flags(self.regs.rflags & !(flag::VIF | flag::VIP));
        Entry::Enter
    }

    /// `int3` or `into`, behind which the real processor stopped. Both have a form of one byte and, as `int n`, of two.
    fn trapped(&mut self, vector: u8) -> Outcome {
        const ONE_BYTE: [u8; 2] = [0xcc, 0xce];
        let mut byte = [0];
        let before = self.linear(self.regs.rip.wrapping_sub(1));
        let short = canonical_range(before, 1)
            && self.mem.fetch(before, &mut byte, self.privilege()).is_ok()
            && ONE_BYTE.contains(&byte[0]);
        self.after(vector, if short { 1 } else { 2 })
    }

    /// Delivers a software interrupt whose instruction, of `length` bytes, the real processor has executed. Should the
    /// guest's gate refuse, the exception is at the instruction.
    fn after(&mut self, vector: u8, length: u64) -> Outcome {
        let next = self.regs.rip;
        self.regs.rip = next.wrapping_sub(length);
        self.deliver(Event::software(vector, next))
    }

    /// Whether an exception came of a descriptor that the guest has changed since it was copied.
    fn refreshed(&mut self, error_code: u32) -> Result<bool, Fault> {
        const EXTERNAL_OR_IDT: u32 = 3;
        let selector = error_code as u16;
        if error_code & EXTERNAL_OR_IDT != 0 || table::is_null(selector) {
            return Ok(false);
        }
        Ok(self.gdt.resync(self.cpu, self.mem, self.real, selector)? == Resync::Updated)
    }

    fn privilege(&self) -> Privilege {
        match self.cpu.mode {
            Mode::Kernel => Privilege::Supervisor,
            Mode::User => Privilege::User,
        }
    }

    fn linear(&self, rip: u64) -> u64 {
        match self.cpu.cs.bits {
            CodeBits::Bits64 => rip,
            _ => self.cpu.cs.base.wrapping_add(rip) & mask(4),
        }
    }

    /// Emulates the instruction at RIP, or delivers what the real processor reported.
    fn instruction(&mut self, reported: Event) -> Outcome {
        let instruction = match self.fetched() {
            Ok(Some(instruction)) => instruction,
            Ok(None) => return self.deliver(reported),
            Err(fault) => return self.deliver(Event::exception(fault)),
        };
        let form = classify(&instruction).form;
        if reported.vector == vector::INVALID_OPCODE && !of_invalid_opcode(form) {
            return self.deliver(reported);
        }
        let mut step = Step::new(self.cpu, self.regs, self.mem, self.host, instruction);
        let refused = match decide(&mut step, form) {
            Ok(Decided::Done) => match step.commit(self.cpu, self.regs) {
                Ok(committed) => {
                    if committed.new_gdt {
                        self.gdt.load(self.cpu, self.mem, self.real);
                    }
                    return self.loaded(committed.effect);
                }
                Err(fault) => Refused::With(fault),
            },
            Ok(Decided::Raise(event)) => return self.deliver(event),
            Ok(Decided::Port(access)) => return Outcome::Port(access),
            Ok(Decided::Nothing(io)) => {
                self.cpu.pending_debug |= io.commit(self.regs, 0);
                return Outcome::Resume;
            }
            Err(refused) => refused,
        };
        match refused {
            Refused::With(fault) => self.deliver(Event::exception(fault)),
            Refused::NotOurs => self.deliver(reported),
        }
    }

    /// What is left to do, with a selector that the real processor can load.
    fn loaded(&mut self, effect: Effect) -> Outcome {
        match effect {
            Effect::None => Outcome::Resume,
            Effect::LoadSegment { segment, selector } => {
                let fresh = self.gdt.resync(self.cpu, self.mem, self.real, selector).is_ok();
                let selector = if fresh && self.gdt.can_load(self.real, selector) { selector } else { 0 };
                let slot = match segment {
                    Segment::Fs => &mut self.regs.fs,
                    Segment::Gs => &mut self.regs.gs,
                    Segment::Es => &mut self.regs.es,
                    _ => &mut self.regs.ds,
                };
                *slot = selector;
                Outcome::Do(Effect::LoadSegment { segment, selector })
            }
            effect => Outcome::Do(effect),
        }
    }

    /// The instruction at RIP, or the one that stood there before it was replaced. `None` if there is none; the error is
    /// the #PF of fetching it.
    fn fetched(&mut self) -> Result<Option<Instruction>, Fault> {
        let (rip, bits, privilege) = (self.regs.rip, self.cpu.cs.bits, self.privilege());
        let address = self.linear(rip);
        let mut buffer = [0; MAX_LENGTH];
        let mut bytes: ArrayVec<u8, MAX_LENGTH> = ArrayVec::new();
        while bytes.len() < MAX_LENGTH {
            // Page by page, so that no range wraps or leaves its half.
            let at = address.wrapping_add(bytes.len() as u64);
            let in_page = 0x1000 - (at & 0xfff) as usize;
            let wanted = in_page.min(MAX_LENGTH - bytes.len());
            if !canonical_range(at, wanted) {
                break;
            }
            let got = match self.mem.fetch(at, &mut buffer[..wanted], privilege) {
                Ok(got) => got.min(wanted),
                Err(fault) if bytes.is_empty() => return Err(fault.into()),
                Err(fault) => {
                    return match raw(&bytes, bits, rip) {
                        Err(NoInstruction::Truncated) => Err(fault.into()),
                        found => Ok(found.ok()),
                    };
                }
            };
            let _ = bytes.try_extend_from_slice(&buffer[..got]);
            if got < wanted {
                break;
            }
        }
        if self.cpu.mode == Mode::Kernel
            && let Some(original) = self.patches.original(rip, &bytes)
        {
            return Ok(raw(original, bits, rip).ok());
        }
        Ok(raw(&bytes, bits, rip).ok())
    }
}

/// Instructions that raise #UD in ring 1, or with the real CR4, and that a guest may have all the same.
fn of_invalid_opcode(form: Form) -> bool {
    matches!(form, Form::SetAc(_) | Form::Base { .. } | Form::Xgetbv | Form::Xsetbv)
}

fn outcome(delivery: Delivery) -> Outcome {
    match delivery {
        Delivery::Entered => Outcome::Resume,
        Delivery::Shutdown => Outcome::Shutdown,
    }
}
