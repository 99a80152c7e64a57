//! One instruction, worked out on copies of the registers.

use super::Host;
use super::memory::{GuestLinear, Linear, Privilege, canonical_range};
use super::state::FullCpu;
use crate::descriptor::CodeBits;
use crate::emulate::{
    DR6_SINGLE_STEP, Fault, Gpr, Mode, Segment, SegmentBases, effective_address, flag, mask, next_rip, vector,
};
use arrayvec::ArrayVec;
use iced_x86::{Instruction, OpKind, Register};
use paravane_abi::regs::CpuUserRegs;

/// What an instruction asks of whoever owns the machine, beyond what it did to the virtual processor. Values are in
/// [`FullCpu`] unless they are given here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// CR3 was loaded: this guest-physical address is the root now. Translations are forgotten, those of global pages
    /// only without CR4.PGE.
    LoadCr3(u64),
    /// CR0, CR4 or EFER changed. With `paging`, what page-table entries mean changed and all translations are to be
    /// forgotten; with `fpu`, whether the FPU may be used did.
    Control {
        /// WP, PGE, NXE and their like.
        paging: bool,
        /// TS, EM, MP.
        fpu: bool,
    },
    /// The translation of one linear address is to be forgotten (`invlpg`), a canonical one.
    InvalidatePage(u64),
    /// Caches written back or dropped. A guest without devices need not see it done.
    FlushCaches,
    /// The debug registers changed.
    Debug,
    /// XCR0 changed.
    Xcr0,
    /// The bases of FS and GS changed.
    Bases,
    /// TSC_AUX changed, which `rdtscp` reads without a trap.
    TscAux,
    /// A data segment register of the real processor is to be loaded, then, if it is FS or GS, its base.
    LoadSegment {
        /// DS, ES, FS or GS.
        segment: Segment,
        /// What the real processor can load: null where its table lacks what the guest's has.
        selector: u16,
    },
    /// The processor waits for an interrupt.
    Halt,
}

/// The longest store: `sgdt`'s ten bytes, a far call's two words.
const STORE: usize = 16;

pub(super) struct Store {
    address: u64,
    bytes: ArrayVec<u8, STORE>,
    stack: bool,
}

/// What becomes of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It raises this.
    With(Fault),
    /// It is none of those emulated: the original exception stands.
    NotOurs,
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Refused {
        Refused::With(fault)
    }
}

pub(super) struct Step<'a, M, H> {
    pub cpu: FullCpu,
    pub regs: CpuUserRegs,
    pub mem: &'a mut M,
    pub host: &'a H,
    pub instruction: Instruction,
    pub effect: Effect,
    /// GDTR was loaded.
    pub new_gdt: bool,
    /// RIP was loaded, so that it is not to be stepped.
    pub jumped: bool,
    /// Whose memory operands are: of what ran when the instruction began.
    pub privilege: Privilege,
    store: Option<Store>,
}

impl<'a, M: GuestLinear, H: Host> Step<'a, M, H> {
    pub fn new(
        cpu: &FullCpu,
        regs: &CpuUserRegs,
        mem: &'a mut M,
        host: &'a H,
        instruction: Instruction,
    ) -> Self {
        let privilege = match cpu.mode {
            Mode::Kernel => Privilege::Supervisor,
            Mode::User => Privilege::User,
        };
        Step {
            privilege,
            cpu: cpu.clone(),
            regs: *regs,
            mem,
            host,
            instruction,
            effect: Effect::None,
            new_gdt: false,
            jumped: false,
            store: None,
        }
    }

    pub fn bits(&self) -> CodeBits {
        self.cpu.cs.bits
    }

    /// RIP behind the instruction.
    pub fn next(&self) -> u64 {
        next_rip(self.regs.rip, self.instruction.len() as u8, self.bits())
    }

    /// The linear address of a memory operand, and whether it is on the stack.
    pub fn address(&self, operand: u32) -> (u64, bool) {
        let bases = SegmentBases { fs: self.cpu.fs_base, gs: self.cpu.gs_base };
        let address = effective_address(&self.instruction, operand, &self.regs, bases).unwrap_or(0);
        let address = if self.bits() == CodeBits::Bits64 { address } else { address & mask(4) };
        (address, self.instruction.memory_segment() == Register::SS)
    }

    /// A number of `width` bytes from a memory operand, `offset` bytes into it.
    pub fn load(&mut self, operand: u32, offset: u64, width: usize) -> Result<u64, Fault> {
        let (address, stack) = self.address(operand);
        let privilege = self.privilege;
        self.mem.number(address.wrapping_add(offset), width, privilege).map_err(|why| why.operand(stack))
    }

    /// A word of the stack, `offset` bytes above RSP.
    pub fn stack_word(&mut self, offset: u64, width: usize) -> Result<u64, Fault> {
        let (address, privilege) = (self.regs.rsp.wrapping_add(offset), self.privilege);
        self.mem.number(address, width, privilege).map_err(|why| why.operand(true))
    }

    /// Sixteen bits of a register or of memory.
    pub fn selector_operand(&mut self, operand: u32) -> Result<u16, Fault> {
        match self.instruction.op_kind(operand) {
            OpKind::Memory => Ok(self.load(operand, 0, 2)? as u16),
            _ => {
                Ok(Gpr::of(self.instruction.op_register(operand)).map_or(0, |gpr| gpr.read(&self.regs))
                    as u16)
            }
        }
    }

    /// Writes the first operand: sixteen bits of memory, or a register as wide as it is.
    pub fn write_operand(&mut self, value: u64) -> Result<(), Fault> {
        match self.instruction.op0_kind() {
            OpKind::Memory => self.store_operand(&(value as u16).to_le_bytes()),
            _ => {
                if let Some(gpr) = Gpr::of(self.instruction.op0_register()) {
                    gpr.write(&mut self.regs, value);
                }
                Ok(())
            }
        }
    }

    /// Notes a write to the first operand, in memory.
    pub fn store_operand(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let (address, stack) = self.address(0);
        self.note_store(address, bytes, stack)
    }

    /// Notes a push.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.regs.rsp = self.regs.rsp.wrapping_sub(bytes.len() as u64);
        self.note_store(self.regs.rsp, bytes, true)
    }

    /// Notes the one write, to be done when nothing else can fail.
    pub fn note_store(&mut self, address: u64, bytes: &[u8], stack: bool) -> Result<(), Fault> {
        let vector = if stack { vector::STACK } else { vector::PROTECTION };
        let refused = Fault { vector, error_code: Some(0), address: None };
        if !canonical_range(address, bytes.len()) {
            return Err(refused);
        }
        let bytes = bytes.try_into().map_err(|_| refused)?;
        self.store = Some(Store { address, bytes, stack });
        Ok(())
    }

    /// Writes EDX:EAX.
    pub fn set_pair(&mut self, value: u64) {
        Gpr::RAX.write(&mut self.regs, value & mask(4));
        Gpr::RDX.write(&mut self.regs, value >> 32);
    }

    /// Does the write, and then replaces the registers. Stepping over the instruction clears RF, and TF as it was before
    /// makes a #DB due.
    pub fn commit(mut self, cpu: &mut FullCpu, regs: &mut CpuUserRegs) -> Result<Committed, Fault> {
        if let Some(Store { address, bytes, stack }) = &self.store {
            let privilege = self.privilege;
            self.mem.put(*address, bytes, privilege).map_err(|why| why.operand(*stack))?;
        }
        if !self.jumped {
            self.regs.rip = self.next();
            self.regs.rflags &= !flag::RF;
        }
        // A shadow of before ends with this instruction.
        if self.cpu.shadow == cpu.shadow {
            self.cpu.shadow = None;
        }
        if regs.rflags & flag::TF != 0 {
            self.cpu.pending_debug |= DR6_SINGLE_STEP;
        }
        *cpu = self.cpu;
        *regs = self.regs;
        Ok(Committed { effect: self.effect, new_gdt: self.new_gdt })
    }
}

/// What is left to do when the registers have changed.
pub(super) struct Committed {
    pub effect: Effect,
    pub new_gdt: bool,
}
