//! Delivery through the guest's own IDT, as SDM volume 3, 6.14 and volume 2, INT n have it for 64-bit mode.
//!
//! The gate, the code descriptor and the TSS are read from guest memory, each where the guest says it is. All of that
//! may fail, and the frame is written last; only then do the registers change. What fails is delivered instead, up to
//! the triple fault.

use super::event::{Event, Kind};
use super::memory::{GuestLinear, Linear, Privilege};
use super::state::{CodeSegment, FullCpu};
use super::table;
use crate::addr::VirtAddr;
use crate::descriptor::Gate;
use crate::emulate::{Fault, Mode, flag, vector};
use crate::iret::exit_flags;
use paravane_abi::regs::CpuUserRegs;

/// Error code bit 1: the index is into the IDT.
const IDT: u32 = 1 << 1;
const INVALID_TSS: u8 = 10;
const INTERRUPT_GATE: u64 = 0xe;
const TRAP_GATE: u64 = 0xf;
/// Offsets in a 64-bit TSS (SDM volume 3, figure 8-11).
const TSS_RSP0: u64 = 0x04;
const TSS_IST1: u64 = 0x24;
/// More exceptions in a row than table 6-5 allows: one that is benign, a contributory one, a page fault, #DF.
const ROUNDS: usize = 6;

/// What delivery leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a triple fault ends the guest"]
pub enum Delivery {
    /// The guest's handler runs next.
    Entered,
    /// A triple fault: the processor shuts down. Registers are as before.
    Shutdown,
}

/// A handler to enter.
struct Handler {
    mode: Mode,
    code: CodeSegment,
    target: u64,
    clears_interrupts: bool,
    ist: u8,
}

/// Delivers an event, or the exceptions that come of trying to.
pub fn deliver(
    cpu: &mut FullCpu,
    regs: &mut CpuUserRegs,
    mem: &mut impl GuestLinear,
    event: Event,
) -> Delivery {
    let mut event = event;
    for _ in 0..ROUNDS {
        if let Some(address) = event.address {
            cpu.cr2 = address;
        }
        let Err(fault) = attempt(cpu, regs, mem, &event) else { return Delivery::Entered };
        match event.or_instead(fault) {
            Some(instead) => event = instead,
            None => return Delivery::Shutdown,
        }
    }
    Delivery::Shutdown
}

fn attempt(
    cpu: &mut FullCpu,
    regs: &mut CpuUserRegs,
    mem: &mut impl GuestLinear,
    event: &Event,
) -> Result<(), Fault> {
    let handler = handler(cpu, mem, event)?;
    let external = event.external();
    let inner = handler.mode != cpu.mode;
    let top = match (handler.ist, inner) {
        (0, false) => regs.rsp,
        (0, true) => stack_pointer(cpu, mem, TSS_RSP0, external)?,
        (slot, _) => stack_pointer(cpu, mem, TSS_IST1 + (slot as u64 - 1) * 8, external)?,
    };
    if !VirtAddr::is_canonical(handler.target) {
        return Err(Fault { error_code: Some(external), ..Fault::PROTECTION });
    }
    let rsp = push_frame(cpu, regs, mem, event, &handler, top & !0xf)?;

    let kept = flag::TF | flag::NT | flag::RF | flag::VM;
    regs.rflags = exit_flags(regs.rflags & !(kept | flag::VIF | flag::VIP));
    regs.rip = handler.target;
    regs.rsp = rsp;
    cpu.cs = handler.code;
    if inner {
        cpu.ss = 0;
        cpu.mode = handler.mode;
    }
    cpu.set_selectors(regs);
    cpu.interrupts &= !handler.clears_interrupts;
    cpu.nmi_blocked |= event.kind == Kind::Nmi;
    cpu.shadow = None;
    cpu.halted = false;
    Ok(())
}

/// The gate, and the code it leads to.
fn handler(cpu: &FullCpu, mem: &mut impl GuestLinear, event: &Event) -> Result<Handler, Fault> {
    let external = event.external();
    let named = |vector| Fault {
        vector,
        error_code: Some((event.vector as u32) << 3 | IDT | external),
        address: None,
    };
    let refused = named(vector::PROTECTION);
    let offset = event.vector as u64 * 16;
    if offset + 15 > cpu.idtr.limit as u64 {
        return Err(refused);
    }
    let mut bytes = [0; 16];
    mem.get(cpu.idtr.base.wrapping_add(offset), &mut bytes, Privilege::Supervisor)
        .map_err(|why| why.or(refused))?;
    let both = u128::from_le_bytes(bytes);
    let gate = Gate([both as u64, (both >> 64) as u64]);
    let kind = (gate.0[0] >> 40) & 0x1f;
    if kind != INTERRUPT_GATE && kind != TRAP_GATE {
        return Err(refused);
    }
    if matches!(event.kind, Kind::Software { .. }) && (gate.dpl() as u16) < cpu.cpl() {
        return Err(refused);
    }
    if !gate.is_present() {
        return Err(named(vector::NOT_PRESENT));
    }
    let (mode, code) = table::gate_target(cpu, mem, gate.selector(), external)?;
    Ok(Handler {
        mode,
        code,
        target: gate.target(),
        clears_interrupts: kind == INTERRUPT_GATE,
        ist: gate.ist(),
    })
}

/// A stack pointer in the guest's TSS.
fn stack_pointer(
    cpu: &FullCpu,
    mem: &mut impl GuestLinear,
    offset: u64,
    external: u32,
) -> Result<u64, Fault> {
    let invalid = Fault {
        vector: INVALID_TSS,
        error_code: Some((cpu.tr.selector & !3) as u32 | external),
        address: None,
    };
    if offset + 7 > cpu.tr.limit as u64 {
        return Err(invalid);
    }
    mem.number(cpu.tr.base.wrapping_add(offset), 8, Privilege::Supervisor).map_err(|why| why.or(invalid))
}

/// SS, RSP, RFLAGS, CS, RIP and the error code, downwards from the aligned `top`; the result is the new RSP.
fn push_frame(
    cpu: &FullCpu,
    regs: &CpuUserRegs,
    mem: &mut impl GuestLinear,
    event: &Event,
    handler: &Handler,
    top: u64,
) -> Result<u64, Fault> {
    let flags = (cpu.flags(regs.rflags) & !flag::RF) | event.resume_flag(regs.rflags);
    let words = [
        event.error_code.unwrap_or(0) as u64,
        event.return_address(regs.rip),
        cpu.cs.selector as u64,
        flags,
        regs.rsp,
        cpu.ss as u64,
    ];
    let skipped = if event.error_code.is_some() { 0 } else { 1 };
    let mut bytes = [0; 48];
    for (slot, word) in bytes.chunks_exact_mut(8).zip(words.iter().skip(skipped)) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    let length = (words.len() - skipped) * 8;
    let rsp = top.wrapping_sub(length as u64);
    let privilege = match handler.mode {
        Mode::Kernel => Privilege::Supervisor,
        Mode::User => Privilege::User,
    };
    let stack = Fault { vector: vector::STACK, error_code: Some(event.external()), address: None };
    mem.put(rsp, &bytes[..length], privilege).map_err(|why| why.or(stack))?;
    Ok(rsp)
}

/// The selectors of `syscall` in STAR: the kernel's code, and its stack 8 further up (SDM volume 2, SYSCALL).
const fn kernel_selector(star: u64) -> u16 {
    (star >> 32) as u16 & !3
}

/// `syscall`, as the real processor leaves it: RCX holds the address behind the instruction and R11 the real RFLAGS.
/// `compatibility` says that the real processor went to CSTAR.
///
/// Where `syscall` does not exist, #UD goes to the guest. As on a processor, neither CS nor SS is read from a table.
pub fn syscall(
    cpu: &mut FullCpu,
    regs: &mut CpuUserRegs,
    mem: &mut impl GuestLinear,
    compatibility: bool,
) -> Delivery {
    const LENGTH: u64 = 2;
    let flags = cpu.flags(regs.r11) & !flag::RF;
    if cpu.efer & super::state::efer::SCE == 0 {
        regs.rip = regs.rcx.wrapping_sub(LENGTH);
        regs.rflags = exit_flags(flags);
        return deliver(cpu, regs, mem, Event::exception(Fault::INVALID_OPCODE));
    }
    regs.r11 = flags;
    regs.rip = if compatibility { cpu.cstar } else { cpu.lstar };
    regs.rflags = cpu.load_flags(flags & !cpu.sfmask);
    cpu.mode = Mode::Kernel;
    let selector = kernel_selector(cpu.star);
    cpu.cs = CodeSegment { selector, bits: crate::descriptor::CodeBits::Bits64, base: 0 };
    cpu.ss = selector.wrapping_add(8);
    cpu.shadow = None;
    cpu.set_selectors(regs);
    Delivery::Entered
}
