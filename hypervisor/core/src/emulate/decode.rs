//! From instruction bytes to the privileged instruction they hold.

use super::gpr::Gpr;
use super::{MAX_LENGTH, Segment};
use crate::descriptor::CodeBits;
use iced_x86::{Code, Decoder, DecoderError, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

/// Which way data moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the port.
    In,
    /// To the port.
    Out,
}

/// How a port is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// In the instruction.
    Immediate(u8),
    /// By DX.
    Dx,
}

/// Loads and stores of descriptor table registers and of the machine status word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TableOp {
    Lgdt,
    Lidt,
    Lldt,
    Ltr,
    Sgdt,
    Sidt,
    Sldt,
    Str,
    Lmsw,
    Smsw,
}

/// A privileged or sensitive instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Form {
    Cli,
    Sti,
    Hlt,
    Clts,
    Port {
        direction: Direction,
        width: u8,
        port: Port,
    },
    StringPort {
        direction: Direction,
        width: u8,
        repeat: bool,
        address_width: u8,
        segment: Segment,
    },
    ReadCr {
        cr: u8,
        to: Gpr,
    },
    WriteCr {
        cr: u8,
        from: Gpr,
    },
    ReadDr {
        dr: u8,
        to: Gpr,
    },
    WriteDr {
        dr: u8,
        from: Gpr,
    },
    Table(TableOp),
    Rdmsr,
    Wrmsr,
    Rdtsc,
    Rdtscp,
    Rdpmc,
    Cpuid,
    Xsetbv,
    Xgetbv,
    Invlpg,
    Invd,
    Wbinvd,
    Wbnoinvd,
    Swapgs,
    Sysret,
    Sysexit,
    SetAc(bool),
    /// `int n`, `int3` (3), `int1` (1), `into` (4).
    Int(u8),
    /// `iretq`.
    Iretq,
    /// `iret` with words of two or four bytes.
    NarrowIret(u8),
    Sysenter,
    /// `retf`, `jmp` and `call` to another segment.
    FarReturn,
    FarJump,
    FarCall,
    /// `mov` to a segment register.
    LoadSegment(Segment),
    /// `pop` of FS or GS.
    PopSegment(Segment),
    /// `lss`, `lfs`, `lgs`.
    LoadPointer(Segment),
    /// `mov` from a segment register.
    StoreSegment(Segment),
    /// `rdfsbase` and its like.
    Base {
        segment: Segment,
        write: bool,
    },
    Popf,
    Pushf,
    Lar,
    Lsl,
    Verr,
    Verw,
    /// Anything else that decodes.
    Other,
}

/// A decoded instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// What it is.
    pub form: Form,
    /// Its length in bytes.
    pub length: u8,
}

/// Why bytes are no instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoInstruction {
    /// The bytes end within it; the next one could not be fetched.
    Truncated,
    /// An invalid encoding, or longer than a CPU accepts.
    Invalid,
}

pub(crate) fn raw(bytes: &[u8], bits: CodeBits, rip: u64) -> Result<Instruction, NoInstruction> {
    let bytes = &bytes[..bytes.len().min(MAX_LENGTH)];
    let mut decoder = Decoder::with_ip(bits.number(), bytes, rip, DecoderOptions::NONE);
    let instruction = decoder.decode();
    match decoder.last_error() {
        DecoderError::None => Ok(instruction),
        DecoderError::NoMoreBytes if bytes.len() < MAX_LENGTH => Err(NoInstruction::Truncated),
        _ => Err(NoInstruction::Invalid),
    }
}

/// Builds the decoder's tables, some 80 KiB of heap. Called at boot, so that no guest's first fault has to.
pub fn prepare() {
    const NOP: &[u8] = &[0x90];
    let nop = decode(NOP, CodeBits::Bits64, 0);
    debug_assert!(nop.is_some_and(|decoded| decoded.length == 1));
}

/// Decodes one instruction; `None` if the bytes hold none.
pub fn decode(bytes: &[u8], bits: CodeBits, rip: u64) -> Option<Decoded> {
    raw(bytes, bits, rip).ok().map(|instruction| classify(&instruction))
}

pub(crate) fn classify(instruction: &Instruction) -> Decoded {
    Decoded { form: form(instruction), length: instruction.len() as u8 }
}

fn form(instruction: &Instruction) -> Form {
    use TableOp::*;
    match instruction.mnemonic() {
        Mnemonic::Mov => moves(instruction),
        Mnemonic::In | Mnemonic::Out => port(instruction),
        Mnemonic::Insb | Mnemonic::Insw | Mnemonic::Insd => string_port(instruction, Direction::In),
        Mnemonic::Outsb | Mnemonic::Outsw | Mnemonic::Outsd => string_port(instruction, Direction::Out),
        Mnemonic::Cli => Form::Cli,
        Mnemonic::Sti => Form::Sti,
        Mnemonic::Hlt => Form::Hlt,
        Mnemonic::Clts => Form::Clts,
        Mnemonic::Lgdt => Form::Table(Lgdt),
        Mnemonic::Lidt => Form::Table(Lidt),
        Mnemonic::Lldt => Form::Table(Lldt),
        Mnemonic::Ltr => Form::Table(Ltr),
        Mnemonic::Sgdt => Form::Table(Sgdt),
        Mnemonic::Sidt => Form::Table(Sidt),
        Mnemonic::Sldt => Form::Table(Sldt),
        Mnemonic::Str => Form::Table(Str),
        Mnemonic::Lmsw => Form::Table(Lmsw),
        Mnemonic::Smsw => Form::Table(Smsw),
        Mnemonic::Rdmsr => Form::Rdmsr,
        Mnemonic::Wrmsr => Form::Wrmsr,
        Mnemonic::Rdtsc => Form::Rdtsc,
        Mnemonic::Rdtscp => Form::Rdtscp,
        Mnemonic::Rdpmc => Form::Rdpmc,
        Mnemonic::Cpuid => Form::Cpuid,
        Mnemonic::Xsetbv => Form::Xsetbv,
        Mnemonic::Xgetbv => Form::Xgetbv,
        Mnemonic::Invlpg => Form::Invlpg,
        Mnemonic::Invd => Form::Invd,
        Mnemonic::Wbinvd => Form::Wbinvd,
        Mnemonic::Wbnoinvd => Form::Wbnoinvd,
        Mnemonic::Swapgs => Form::Swapgs,
        Mnemonic::Sysret | Mnemonic::Sysretq => Form::Sysret,
        Mnemonic::Sysexit | Mnemonic::Sysexitq => Form::Sysexit,
        Mnemonic::Stac => Form::SetAc(true),
        Mnemonic::Clac => Form::SetAc(false),
        Mnemonic::Int => Form::Int(instruction.immediate8()),
        Mnemonic::Int3 => Form::Int(3),
        Mnemonic::Int1 => Form::Int(1),
        Mnemonic::Into => Form::Int(4),
        Mnemonic::Iretq => Form::Iretq,
        Mnemonic::Iretd => Form::NarrowIret(4),
        Mnemonic::Iret => Form::NarrowIret(2),
        _ => of_segments(instruction),
    }
}

/// What names segments, or flags that a ring-1 kernel cannot have as it wants.
fn of_segments(instruction: &Instruction) -> Form {
    let base = |segment, write| Form::Base { segment, write };
    match instruction.mnemonic() {
        Mnemonic::Sysenter => Form::Sysenter,
        Mnemonic::Retf => Form::FarReturn,
        Mnemonic::Jmp | Mnemonic::Call => far(instruction),
        Mnemonic::Pop => match instruction.op0_register() {
            register @ (Register::FS | Register::GS) => Form::PopSegment(segment(register)),
            _ => Form::Other,
        },
        Mnemonic::Lss => Form::LoadPointer(Segment::Ss),
        Mnemonic::Lfs => Form::LoadPointer(Segment::Fs),
        Mnemonic::Lgs => Form::LoadPointer(Segment::Gs),
        Mnemonic::Rdfsbase => base(Segment::Fs, false),
        Mnemonic::Rdgsbase => base(Segment::Gs, false),
        Mnemonic::Wrfsbase => base(Segment::Fs, true),
        Mnemonic::Wrgsbase => base(Segment::Gs, true),
        Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq => Form::Popf,
        Mnemonic::Pushf | Mnemonic::Pushfd | Mnemonic::Pushfq => Form::Pushf,
        Mnemonic::Lar => Form::Lar,
        Mnemonic::Lsl => Form::Lsl,
        Mnemonic::Verr => Form::Verr,
        Mnemonic::Verw => Form::Verw,
        _ => Form::Other,
    }
}

/// Jumps and calls through a far pointer; near ones are nobody's concern.
fn far(instruction: &Instruction) -> Form {
    match instruction.code() {
        Code::Jmp_m1616 | Code::Jmp_m1632 | Code::Jmp_m1664 => Form::FarJump,
        Code::Call_m1616 | Code::Call_m1632 | Code::Call_m1664 => Form::FarCall,
        _ => Form::Other,
    }
}

fn moves(instruction: &Instruction) -> Form {
    let (first, second) = (instruction.op0_register(), instruction.op1_register());
    match instruction.code() {
        Code::Mov_Sreg_rm16 | Code::Mov_Sreg_r32m16 | Code::Mov_Sreg_r64m16 => {
            Form::LoadSegment(segment(first))
        }
        Code::Mov_rm16_Sreg | Code::Mov_r32m16_Sreg | Code::Mov_r64m16_Sreg => {
            Form::StoreSegment(segment(second))
        }
        Code::Mov_r64_cr | Code::Mov_r32_cr => match (control(second), Gpr::of(first)) {
            (Some(cr), Some(to)) => Form::ReadCr { cr, to },
            _ => Form::Other,
        },
        Code::Mov_cr_r64 | Code::Mov_cr_r32 => match (control(first), Gpr::of(second)) {
            (Some(cr), Some(from)) => Form::WriteCr { cr, from },
            _ => Form::Other,
        },
        Code::Mov_r64_dr | Code::Mov_r32_dr => match (debug(second), Gpr::of(first)) {
            (Some(dr), Some(to)) => Form::ReadDr { dr, to },
            _ => Form::Other,
        },
        Code::Mov_dr_r64 | Code::Mov_dr_r32 => match (debug(first), Gpr::of(second)) {
            (Some(dr), Some(from)) => Form::WriteDr { dr, from },
            _ => Form::Other,
        },
        _ => Form::Other,
    }
}

/// Sixteen control registers and sixteen debug registers can be encoded, in order.
fn numbered(register: Register, first: Register) -> Option<u8> {
    let number = (register as usize).checked_sub(first as usize)?;
    (number < 16).then_some(number as u8)
}

fn control(register: Register) -> Option<u8> {
    numbered(register, Register::CR0)
}

fn debug(register: Register) -> Option<u8> {
    numbered(register, Register::DR0)
}

fn port(instruction: &Instruction) -> Form {
    let input = instruction.mnemonic() == Mnemonic::In;
    let (data, port) = if input { (0, 1) } else { (1, 0) };
    let port = match instruction.op_kind(port) {
        OpKind::Immediate8 => Port::Immediate(instruction.immediate8()),
        _ => Port::Dx,
    };
    let direction = if input { Direction::In } else { Direction::Out };
    match Gpr::of(instruction.op_register(data)) {
        Some(gpr) => Form::Port { direction, width: gpr.width(), port },
        None => Form::Other,
    }
}

fn string_port(instruction: &Instruction, direction: Direction) -> Form {
    let width = match instruction.mnemonic() {
        Mnemonic::Insb | Mnemonic::Outsb => 1,
        Mnemonic::Insw | Mnemonic::Outsw => 2,
        _ => 4,
    };
    let operand = if direction == Direction::In { 0 } else { 1 };
    let address_width = match instruction.op_kind(operand) {
        OpKind::MemorySegRSI | OpKind::MemoryESRDI => 8,
        OpKind::MemorySegESI | OpKind::MemoryESEDI => 4,
        _ => 2,
    };
    let segment = match direction {
        Direction::In => Segment::Es,
        Direction::Out => segment(instruction.memory_segment()),
    };
    let repeat = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    Form::StringPort { direction, width, repeat, address_width, segment }
}

pub(crate) fn segment(register: Register) -> Segment {
    match register {
        Register::ES => Segment::Es,
        Register::CS => Segment::Cs,
        Register::SS => Segment::Ss,
        Register::FS => Segment::Fs,
        Register::GS => Segment::Gs,
        _ => Segment::Ds,
    }
}
