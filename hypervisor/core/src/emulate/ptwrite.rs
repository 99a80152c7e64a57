//! Writes to live page-table entries that faulted because the page is mapped read-only.
//!
//! Linux writes L1 entries with `xchg`, `lock and`, `lock cmpxchg` and plain moves, of one to eight bytes. Each is
//! turned into a change of the whole 8-byte entry, which the page-table module validates and performs by
//! compare-and-exchange. Nothing the guest could have changed since the fault is trusted: the operand's address
//! is computed again and has to be the faulting one.

use super::alu;
pub use super::alu::{Arithmetic, Bit, Unary};
use super::decode::{NoInstruction, raw, segment};
use super::gpr::{Gpr, mask};
use super::{Fault, Segment, advance, flag};
use crate::descriptor::CodeBits;
use iced_x86::{Instruction, MemorySize, Mnemonic, OpKind, Register};
use paravane_abi::regs::CpuUserRegs;

/// The bases of FS and GS; other segments have base 0 in 64-bit mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SegmentBases {
    pub fs: u64,
    pub gs: u64,
}

/// What is done to the operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PtKind {
    /// Stores a value.
    Store(u64),
    /// `stos`: stores a value and steps RDI (and RCX under a repeat prefix, whose rest is executed again).
    StoreString {
        /// The value.
        value: u64,
        /// Whether RCX counts.
        repeat: bool,
    },
    /// Stores a register's value and loads the old one into it.
    Exchange {
        /// The register.
        gpr: Gpr,
        /// Its value.
        value: u64,
    },
    /// Stores the value if the accumulator holds the old one, else loads the old one into the accumulator.
    CompareExchange {
        /// The new value.
        value: u64,
    },
    /// `cmpxchg8b`: the same with EDX:EAX and ECX:EBX.
    CompareExchangePair,
    /// Adds a register's value and loads the old one into it.
    ExchangeAdd {
        /// The register.
        gpr: Gpr,
        /// Its value.
        value: u64,
    },
    /// `add`, `adc`, `sub`, `sbb`, `and`, `or`, `xor` with a value.
    Arithmetic {
        /// Which.
        op: Arithmetic,
        /// The second operand.
        value: u64,
    },
    /// `inc`, `dec`, `neg`, `not`.
    Unary(Unary),
    /// `bts`, `btr`, `btc`.
    Bit {
        /// Which.
        op: Bit,
        /// The bit within the operand.
        index: u32,
    },
}

/// A write to a page-table entry, ready to be performed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "apply it to the entry, then commit"]
pub struct PtWrite {
    /// Linear address of the 8-byte entry.
    pub entry: u64,
    /// Bytes of the operand.
    pub width: u8,
    /// What is done to it.
    pub kind: PtKind,
    /// Bytes of the instruction.
    pub length: u8,
    shift: u32,
    flags: u64,
    accumulator: u64,
    pair: u64,
}

/// Why a write is not emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotEmulated {
    /// Not one of the instructions above, not aligned, or not at the faulting address: the guest gets its #PF.
    Unhandled,
    /// The instruction's next byte cannot be fetched: the guest gets this #PF.
    Fetch(Fault),
}

/// Decodes a write by 64-bit guest kernel code that faulted at `address`.
pub fn page_table_write(
    bytes: &[u8],
    regs: &CpuUserRegs,
    address: u64,
    bases: SegmentBases,
) -> Result<PtWrite, NotEmulated> {
    const FETCH: u32 = 1 << 4;
    let instruction = raw(bytes, CodeBits::Bits64, regs.rip).map_err(|error| match error {
        NoInstruction::Invalid => NotEmulated::Unhandled,
        NoInstruction::Truncated => {
            NotEmulated::Fetch(Fault::page(regs.rip.wrapping_add(bytes.len() as u64), FETCH))
        }
    })?;
    let operand = operand(&instruction, regs).ok_or(NotEmulated::Unhandled)?;
    let target = effective_address(&instruction, 0, regs, bases)
        .map(|base| base.wrapping_add_signed(operand.displacement));
    let aligned = address & (operand.width as u64 - 1) == 0;
    if target != Some(address) || !aligned {
        return Err(NotEmulated::Unhandled);
    }
    Ok(PtWrite {
        entry: address & !7,
        width: operand.width,
        kind: operand.kind,
        length: instruction.len() as u8,
        shift: (address as u32 & 7) * 8,
        flags: regs.rflags,
        accumulator: match operand.kind {
            PtKind::CompareExchangePair => (regs.rax & mask(4)) | (regs.rdx << 32),
            _ => regs.rax & mask(operand.width),
        },
        pair: (regs.rbx & mask(4)) | (regs.rcx << 32),
    })
}

/// The linear address of a memory operand; segments but FS and GS have base 0.
pub(crate) fn effective_address(
    instruction: &Instruction,
    operand: u32,
    regs: &CpuUserRegs,
    bases: SegmentBases,
) -> Option<u64> {
    instruction.virtual_address(operand, 0, |register, _, _| match register {
        Register::ES | Register::CS | Register::SS | Register::DS => Some(0),
        Register::FS | Register::GS => Some(match segment(register) {
            Segment::Fs => bases.fs,
            _ => bases.gs,
        }),
        _ => Gpr::of(register).map(|gpr| gpr.read(regs)),
    })
}

struct Operand {
    width: u8,
    kind: PtKind,
    /// What a bit offset in a register adds to the address.
    displacement: i64,
}

fn operand(instruction: &Instruction, regs: &CpuUserRegs) -> Option<Operand> {
    if !matches!(instruction.op0_kind(), OpKind::Memory | OpKind::MemoryESRDI | OpKind::MemoryESEDI) {
        return None;
    }
    if let Some(op) = bit_op(instruction.mnemonic()) {
        return bit(instruction, regs, op);
    }
    let width = width(instruction)?;
    let kind = kind(instruction, regs, width)?;
    Some(Operand { width, kind, displacement: 0 })
}

fn width(instruction: &Instruction) -> Option<u8> {
    match instruction.memory_size() {
        MemorySize::UInt8 | MemorySize::Int8 => Some(1),
        MemorySize::UInt16 | MemorySize::Int16 => Some(2),
        MemorySize::UInt32 | MemorySize::Int32 => Some(4),
        MemorySize::UInt64 | MemorySize::Int64 => Some(8),
        _ => None,
    }
}

fn kind(instruction: &Instruction, regs: &CpuUserRegs, width: u8) -> Option<PtKind> {
    let source = || source(instruction, regs).map(|value| value & mask(width));
    let register = || Gpr::of(instruction.op1_register()).map(|gpr| (gpr, gpr.read(regs)));
    let arithmetic = |op| source().map(|value| PtKind::Arithmetic { op, value });
    match instruction.mnemonic() {
        Mnemonic::Mov | Mnemonic::Movnti => source().map(PtKind::Store),
        // With the 32-bit address size the index register is narrower than what the commit steps.
        Mnemonic::Stosb | Mnemonic::Stosw | Mnemonic::Stosd | Mnemonic::Stosq => {
            let repeat = instruction.has_rep_prefix() || instruction.has_repne_prefix();
            let plain = instruction.op0_kind() == OpKind::MemoryESRDI && !(repeat && regs.rcx == 0);
            plain.then_some(PtKind::StoreString { value: regs.rax & mask(width), repeat })
        }
        Mnemonic::Xchg => register().map(|(gpr, value)| PtKind::Exchange { gpr, value }),
        Mnemonic::Cmpxchg => source().map(|value| PtKind::CompareExchange { value }),
        Mnemonic::Cmpxchg8b => Some(PtKind::CompareExchangePair),
        Mnemonic::Xadd => register().map(|(gpr, value)| PtKind::ExchangeAdd { gpr, value }),
        Mnemonic::Add => arithmetic(Arithmetic::Add),
        Mnemonic::Adc => arithmetic(Arithmetic::Adc),
        Mnemonic::Sub => arithmetic(Arithmetic::Sub),
        Mnemonic::Sbb => arithmetic(Arithmetic::Sbb),
        Mnemonic::And => arithmetic(Arithmetic::And),
        Mnemonic::Or => arithmetic(Arithmetic::Or),
        Mnemonic::Xor => arithmetic(Arithmetic::Xor),
        Mnemonic::Inc => Some(PtKind::Unary(Unary::Increment)),
        Mnemonic::Dec => Some(PtKind::Unary(Unary::Decrement)),
        Mnemonic::Neg => Some(PtKind::Unary(Unary::Negate)),
        Mnemonic::Not => Some(PtKind::Unary(Unary::Complement)),
        _ => None,
    }
}

/// The second operand's value: a register or a sign-extended immediate.
fn source(instruction: &Instruction, regs: &CpuUserRegs) -> Option<u64> {
    match instruction.op1_kind() {
        OpKind::Register => Gpr::of(instruction.op1_register()).map(|gpr| gpr.read(regs)),
        OpKind::Immediate8
        | OpKind::Immediate16
        | OpKind::Immediate32
        | OpKind::Immediate64
        | OpKind::Immediate8to16
        | OpKind::Immediate8to32
        | OpKind::Immediate8to64
        | OpKind::Immediate32to64 => Some(instruction.immediate(1)),
        _ => None,
    }
}

fn bit_op(mnemonic: Mnemonic) -> Option<Bit> {
    match mnemonic {
        Mnemonic::Bts => Some(Bit::Set),
        Mnemonic::Btr => Some(Bit::Reset),
        Mnemonic::Btc => Some(Bit::Complement),
        _ => None,
    }
}

/// An immediate bit offset counts within the operand; one in a register is signed and reaches beyond it (SDM,
/// BTS).
fn bit(instruction: &Instruction, regs: &CpuUserRegs, op: Bit) -> Option<Operand> {
    let width = width(instruction)?;
    let bits = width as i64 * 8;
    let (index, displacement) = match instruction.op1_kind() {
        OpKind::Register => {
            let raw = Gpr::of(instruction.op1_register())?.read(regs);
            let unused = 64 - bits as u32;
            let offset = ((raw << unused) as i64) >> unused;
            (offset.rem_euclid(bits), offset.div_euclid(bits) * width as i64)
        }
        _ => (instruction.immediate(1) as i64 & (bits - 1), 0),
    };
    Some(Operand { width, kind: PtKind::Bit { op, index: index as u32 }, displacement })
}

impl PtWrite {
    /// The entry's new value, given its old one. Called once per attempt of a compare-and-exchange loop.
    pub fn apply(&self, entry: u64) -> u64 {
        let window = mask(self.width) << self.shift;
        (entry & !window) | (self.result(entry).value << self.shift)
    }

    /// The value to store if the old entry does not matter: a plain store of the whole entry.
    pub fn store(&self) -> Option<u64> {
        match self.kind {
            PtKind::Store(value) | PtKind::StoreString { value, .. } if self.width == 8 => Some(value),
            _ => None,
        }
    }

    /// Whether the guest asked for an exchange with a comparison that failed; nothing needs to be written then.
    pub fn unchanged(&self, entry: u64) -> bool {
        self.apply(entry) == entry
    }

    /// Writes registers and flags as the instruction does, given the entry it replaced, and steps over it. The
    /// result is the DR6 bits of the #DB that is due.
    #[must_use = "a single step is due"]
    pub fn commit(&self, regs: &mut CpuUserRegs, entry: u64) -> u32 {
        let old = self.operand_of(entry);
        regs.rflags = self.result(entry).flags;
        match self.kind {
            PtKind::Exchange { gpr, .. } | PtKind::ExchangeAdd { gpr, .. } => gpr.write(regs, old),
            PtKind::CompareExchange { .. } if old != self.accumulator => {
                Gpr::accumulator(self.width).write(regs, old);
            }
            PtKind::CompareExchangePair if old != self.accumulator => {
                Gpr::RAX.write(regs, old & mask(4));
                Gpr::RDX.write(regs, old >> 32);
            }
            PtKind::StoreString { repeat, .. } => return self.commit_string(regs, repeat),
            _ => {}
        }
        advance(regs, self.length, CodeBits::Bits64)
    }

    fn commit_string(&self, regs: &mut CpuUserRegs, repeat: bool) -> u32 {
        let step = self.width as u64;
        let down = regs.rflags & flag::DF != 0;
        regs.rdi = if down { regs.rdi.wrapping_sub(step) } else { regs.rdi.wrapping_add(step) };
        if repeat {
            regs.rcx = regs.rcx.wrapping_sub(1);
            if regs.rcx != 0 {
                return if regs.rflags & flag::TF != 0 { super::DR6_SINGLE_STEP } else { 0 };
            }
        }
        advance(regs, self.length, CodeBits::Bits64)
    }

    fn operand_of(&self, entry: u64) -> u64 {
        (entry >> self.shift) & mask(self.width)
    }

    fn result(&self, entry: u64) -> alu::Result {
        let (old, width, flags) = (self.operand_of(entry), self.width, self.flags);
        let keep = |value| alu::Result { value, flags };
        match self.kind {
            PtKind::Store(value) | PtKind::StoreString { value, .. } | PtKind::Exchange { value, .. } => {
                keep(value)
            }
            PtKind::CompareExchange { value } => {
                let compared = alu::binary(Arithmetic::Sub, self.accumulator, old, width, flags);
                let value = if old == self.accumulator { value } else { old };
                alu::Result { value, flags: compared.flags }
            }
            PtKind::CompareExchangePair if old == self.accumulator => {
                alu::Result { value: self.pair, flags: flags | flag::ZF }
            }
            PtKind::CompareExchangePair => alu::Result { value: old, flags: flags & !flag::ZF },
            PtKind::ExchangeAdd { value, .. } => alu::binary(Arithmetic::Add, old, value, width, flags),
            PtKind::Arithmetic { op, value } => alu::binary(op, old, value, width, flags),
            PtKind::Unary(op) => alu::unary(op, old, width, flags),
            PtKind::Bit { op, index } => alu::bit(op, old, index, flags),
        }
    }
}
