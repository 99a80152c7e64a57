//! Instruction emulation: decode, then decide, then (elsewhere) perform.
//!
//! Everything here is a function from what the CPU faulted on to a value that says what has to happen. Nothing
//! is changed until [`Retire::commit`], so an effect that is refused leaves the guest as it was. Instruction
//! bytes are fetched by the caller with a checked walk of the guest's tables, at most [`MAX_LENGTH`] of them,
//! fewer where the next page cannot be fetched.

mod alu;
mod decode;
mod forced;
mod gpr;
mod io;
mod privileged;
mod ptwrite;
mod soft_int;
#[cfg(test)]
mod tests;

pub(crate) use decode::{NoInstruction, classify, raw};
pub(crate) use gpr::mask;
pub(crate) use io::{StringForm, port, string};
pub(crate) use privileged::{joined, xsetbv};
pub(crate) use ptwrite::effective_address;

pub use decode::{Decoded, Direction, Form, Port, TableOp, decode, prepare};
pub use forced::forced;
pub use gpr::{Gpr, RegisterWrites};
pub use io::StringIo;
pub use privileged::privileged;
pub use ptwrite::{Arithmetic, Bit, NotEmulated, PtKind, PtWrite, SegmentBases, Unary, page_table_write};
pub use soft_int::{SoftInterrupt, software_interrupt};

use crate::cpuid::CpuidLeaf;
use crate::debugreg::DebugRegs;
use crate::descriptor::CodeBits;
use crate::msr::{MsrEffect, MsrView};
use paravane_abi::regs::CpuUserRegs;

/// The longest instruction a CPU executes.
pub const MAX_LENGTH: usize = 15;

/// Exception vectors this module raises.
pub mod vector {
    /// #DB.
    pub const DEBUG: u8 = 1;
    /// A non-maskable interrupt.
    pub const NMI: u8 = 2;
    /// #UD.
    pub const INVALID_OPCODE: u8 = 6;
    /// #NP.
    pub const NOT_PRESENT: u8 = 11;
    /// #SS.
    pub const STACK: u8 = 12;
    /// #GP.
    pub const PROTECTION: u8 = 13;
    /// #PF.
    pub const PAGE_FAULT: u8 = 14;
}

/// Flags in RFLAGS.
pub mod flag {
    /// Carry.
    pub const CF: u64 = 1 << 0;
    /// Always one.
    pub const ONE: u64 = 1 << 1;
    /// Parity.
    pub const PF: u64 = 1 << 2;
    /// Auxiliary carry.
    pub const AF: u64 = 1 << 4;
    /// Zero.
    pub const ZF: u64 = 1 << 6;
    /// Sign.
    pub const SF: u64 = 1 << 7;
    /// Single step.
    pub const TF: u64 = 1 << 8;
    /// Interrupts enabled.
    pub const IF: u64 = 1 << 9;
    /// Direction.
    pub const DF: u64 = 1 << 10;
    /// Overflow.
    pub const OF: u64 = 1 << 11;
    /// I/O privilege level.
    pub const IOPL: u64 = 3 << IOPL_SHIFT;
    /// Position of the I/O privilege level.
    pub const IOPL_SHIFT: u32 = 12;
    /// Nested task.
    pub const NT: u64 = 1 << 14;
    /// Resume.
    pub const RF: u64 = 1 << 16;
    /// Virtual 8086.
    pub const VM: u64 = 1 << 17;
    /// Alignment check, or SMAP override.
    pub const AC: u64 = 1 << 18;
    /// Virtual interrupt flag.
    pub const VIF: u64 = 1 << 19;
    /// Virtual interrupt pending.
    pub const VIP: u64 = 1 << 20;
    /// `cpuid` exists.
    pub const ID: u64 = 1 << 21;
    /// The flags arithmetic sets.
    pub const ARITHMETIC: u64 = CF | PF | AF | ZF | SF | OF;
}

/// Which half of the guest ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The guest's kernel.
    Kernel,
    /// A program of the guest's.
    User,
}

/// A data segment named by an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Segment {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
}

/// What the emulator asks of the virtual CPU. All answers are the guest's view and have no side effect.
pub trait VirtualCpu {
    /// Whether the kernel or a program was running.
    fn mode(&self) -> Mode;
    /// How the current code segment is decoded.
    fn code_bits(&self) -> CodeBits;
    /// The virtual I/O privilege level (`PHYSDEVOP_set_iopl`), 0 to 3.
    fn iopl(&self) -> u8;
    /// Whether the `architectural_iopl` assistance is on: the kernel then counts as ring 0, else as ring 1.
    fn architectural_iopl(&self) -> bool;
    /// CR0 as the guest reads it.
    fn cr0(&self) -> u64;
    /// CR2 as the guest reads it.
    fn cr2(&self) -> u64;
    /// CR3 as the guest reads it: the kernel's base pointer.
    fn cr3(&self) -> u64;
    /// CR4 as the guest reads it.
    fn cr4(&self) -> u64;
    /// What a guest may choose in CR4.
    fn cr4_rule(&self) -> Cr4Rule;
    /// The debug registers.
    fn debug_registers(&self) -> DebugRegs;
    /// What MSR reads and writes depend on.
    fn msrs(&self) -> MsrView;
    /// Whether the hardware has a readable MSR of this number (asked only before the guest has a #GP handler).
    fn msr_exists(&self, index: u32) -> bool;
    /// The time stamp counter.
    fn tsc(&self) -> u64;
    /// The filtered CPUID leaf.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidLeaf;
    /// XCR0 bits the guest may set; 0 where XSAVE is hidden.
    fn xcr0_mask(&self) -> u64;
    /// Base of a data segment for the current code, or `None` if it is not usable.
    fn segment_base(&self, segment: Segment) -> Option<u64>;
    /// Whether the guest kernel's I/O bitmap grants `width` ports from `port`. Xen takes bytes that cannot be read for
    /// set bits, where the processor's own bitmap would fault.
    fn io_bitmap(&self, port: u16, width: u8) -> bool;
}

/// What a guest may choose in CR4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cr4Rule {
    /// Bits the guest chooses.
    pub settable: u64,
    /// Bits the guest sees whatever it writes.
    pub visible: u64,
}

impl Cr4Rule {
    /// TSD, DE, FSGSBASE and OSXSAVE: what Xen lets a PV guest choose, where its CPUID policy has the feature.
    pub const XEN_SETTABLE: u64 = (1 << 2) | (1 << 3) | (1 << 16) | (1 << 18);
    /// PAE, MCE, OSFXSR and OSXMMEXCPT: what Xen shows of its own CR4.
    pub const XEN_VISIBLE: u64 = (1 << 5) | (1 << 6) | (1 << 9) | (1 << 10);

    /// What the guest's CR4 becomes when it writes `value`; other bits are ignored, not refused.
    pub const fn apply(self, value: u64) -> u64 {
        (value & self.settable) | self.visible
    }
}

/// An exception to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The vector.
    pub vector: u8,
    /// The error code, for vectors that have one.
    pub error_code: Option<u32>,
    /// The faulting address of a #PF.
    pub address: Option<u64>,
}

impl Fault {
    /// #GP(0).
    pub const PROTECTION: Fault = Fault { vector: vector::PROTECTION, error_code: Some(0), address: None };
    /// #UD.
    pub const INVALID_OPCODE: Fault =
        Fault { vector: vector::INVALID_OPCODE, error_code: None, address: None };

    /// #PF at an address; the U bit is set on delivery by who faulted.
    pub const fn page(address: u64, error_code: u32) -> Fault {
        Fault { vector: vector::PAGE_FAULT, error_code: Some(error_code), address: Some(address) }
    }
}

/// What an instruction asks for beyond register writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// CR0.TS.
    SetTs(bool),
    /// The guest's CR2.
    SetCr2(u64),
    /// A base-pointer load with this CR3 value. If it is refused, the original #GP goes to the guest.
    LoadBase(u64),
    /// The guest's CR4, already cut down to what it may choose.
    WriteCr4(u64),
    /// Replaces the debug registers.
    SetDebugRegs(DebugRegs),
    /// A checked MSR write. If the machine refuses, the original #GP goes to the guest.
    WriteMsr(MsrEffect),
    /// XCR0.
    WriteXcr0(u64),
    /// A port read; its value goes to [`Retire::with_port_value`] before the commit.
    PortRead {
        /// First port.
        port: u16,
        /// Bytes.
        width: u8,
    },
    /// A port write.
    PortWrite {
        /// First port.
        port: u16,
        /// Bytes.
        width: u8,
        /// What is written.
        value: u32,
    },
    /// A cache write-back. Ignored for a domain without devices, as Linux does it at start of day.
    FlushCaches,
}

/// An instruction that completes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "perform the effect, then commit"]
pub struct Retire {
    /// Its length in bytes.
    pub length: u8,
    /// What has to be done first.
    pub effect: Effect,
    /// Registers it writes.
    pub writes: RegisterWrites,
    /// DR6 bits of I/O breakpoints it hit.
    pub breakpoints: u32,
    bits: CodeBits,
}

/// DR6.BS: a single step.
pub const DR6_SINGLE_STEP: u32 = 1 << 14;

impl Retire {
    pub(crate) fn new(length: u8, bits: CodeBits) -> Retire {
        Retire { length, effect: Effect::None, writes: RegisterWrites::new(), breakpoints: 0, bits }
    }

    fn effect(mut self, effect: Effect) -> Retire {
        self.effect = effect;
        self
    }

    fn write(mut self, gpr: Gpr, value: u64) -> Retire {
        self.writes.push(gpr, value);
        self
    }

    /// Adds the value a [`Effect::PortRead`] found.
    pub fn with_port_value(self, value: u32) -> Retire {
        match self.effect {
            Effect::PortRead { width, .. } => self.write(Gpr::accumulator(width), value as u64),
            _ => self,
        }
    }

    /// Writes the registers and steps over the instruction. The result is the DR6 bits of the #DB that is due,
    /// 0 for none.
    #[must_use = "a single step or an I/O breakpoint is due"]
    pub fn commit(&self, regs: &mut CpuUserRegs) -> u32 {
        self.writes.apply(regs);
        advance(regs, self.length, self.bits) | self.breakpoints
    }
}

/// Moves RIP past an instruction and ends it: RF is cleared, and TF asks for a #DB.
fn advance(regs: &mut CpuUserRegs, length: u8, bits: CodeBits) -> u32 {
    regs.rip = next_rip(regs.rip, length, bits);
    regs.rflags &= !flag::RF;
    if regs.rflags & flag::TF != 0 { DR6_SINGLE_STEP } else { 0 }
}

pub(crate) fn next_rip(rip: u64, length: u8, bits: CodeBits) -> u64 {
    let next = rip.wrapping_add(length as u64);
    match bits {
        CodeBits::Bits64 => next,
        CodeBits::Bits32 => next & 0xffff_ffff,
        CodeBits::Bits16 => next & 0xffff,
    }
}

/// What becomes of an instruction that faulted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Emulated {
    /// It completes.
    Retire(Retire),
    /// It moves data between ports and memory; see [`StringIo`].
    StringIo(StringIo),
    /// The guest gets this exception instead of the original one, at the same RIP.
    Fault(Fault),
    /// Not emulated: the guest gets the original exception unchanged.
    NotOurs,
}
