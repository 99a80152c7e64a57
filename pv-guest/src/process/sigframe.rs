//! The frame a signal handler runs on: Linux's x86-64 `rt_sigframe` on the program's stack.

use super::current;
use super::signal::{SA_NODEFER, SA_RESETHAND, SigAction};
use crate::arch::fpu::FpuState;
use crate::arch::frame::Frame;
use crate::cpu_ops::facts;
use crate::errno::{Errno, Result};
use crate::mm::addr::USER_END;
use crate::mm::user;
use static_assertions::const_assert_eq;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes below RSP that belong to the interrupted function (System V ABI, 3.2.2).
const RED_ZONE: u64 = 128;
/// Handlers that may interrupt one another.
const DEPTH: usize = 16;
/// RFLAGS bits a program may set: CF, PF, AF, ZF, SF, TF, DF, OF, AC, ID.
const USER_RFLAGS: u64 = 0x24_0dd5;
/// RFLAGS bits that are always set: bit 1, and IF, which ring 3 always has.
const FIXED_RFLAGS: u64 = 0x202;

/// `struct sigcontext`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Context {
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rax: u64,
    rcx: u64,
    rsp: u64,
    rip: u64,
    rflags: u64,
    selectors: u64,
    error: u64,
    vector: u64,
    old_mask: u64,
    cr2: u64,
    fp_state: u64,
    reserved: [u64; 8],
}

const_assert_eq!(size_of::<Context>(), 256);

/// `struct rt_sigframe`: return address, `struct ucontext`, `siginfo_t`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SignalFrame {
    restorer: u64,
    uc_flags: u64,
    uc_link: u64,
    uc_stack: [u64; 3],
    context: Context,
    mask: u64,
    info: [u32; 32],
}

/// Makes `frame` enter a handler, which returns through the action's restorer.
pub(super) fn push(frame: &mut Frame, signal: u32, action: &SigAction) -> Result<()> {
    if action.handler >= USER_END {
        return Err(Errno::EFAULT);
    }
    let process = current();
    if process.signals.lock().interrupted_fpu.len() >= DEPTH {
        return Err(Errno::ENOMEM);
    }
    let mask = {
        let mut state = process.signals.lock();
        let blocked = state.blocked;
        state.restore_mask.take().unwrap_or(blocked)
    };
    let mut info = [0; 32];
    info[0] = signal;
    let signal_frame = SignalFrame {
        restorer: action.restorer,
        uc_flags: 0,
        uc_link: 0,
        uc_stack: [0; 3],
        context: Context {
            r8: frame.r8,
            r9: frame.r9,
            r10: frame.r10,
            r11: frame.r11,
            r12: frame.r12,
            r13: frame.r13,
            r14: frame.r14,
            r15: frame.r15,
            rdi: frame.rdi,
            rsi: frame.rsi,
            rbp: frame.rbp,
            rbx: frame.rbx,
            rdx: frame.rdx,
            rax: frame.rax,
            rcx: frame.rcx,
            rsp: frame.rsp,
            rip: frame.rip,
            rflags: frame.rflags,
            selectors: u64::from(facts().user.code) | u64::from(facts().user.stack) << 48,
            error: frame.error,
            vector: frame.vector,
            old_mask: mask,
            ..Context::default()
        },
        mask,
        info,
    };
    // The handler starts as a called function does: RSP is 8 below a multiple of 16.
    let room = RED_ZONE + size_of::<SignalFrame>() as u64;
    let at = (frame.rsp.checked_sub(room).ok_or(Errno::EFAULT)? & !15).checked_sub(8).ok_or(Errno::EFAULT)?;
    user::write(at, &signal_frame)?;
    let fpu = FpuState::new()?;
    fpu.save();
    let mut state = process.signals.lock();
    state.interrupted_fpu.push(fpu);
    state.blocked |= action.mask;
    if action.flags & SA_NODEFER == 0 {
        state.blocked |= 1 << (signal - 1);
    }
    if action.flags & SA_RESETHAND != 0 {
        state.set_action(signal, SigAction::default());
    }
    frame.rip = action.handler;
    frame.rsp = at;
    frame.rdi = u64::from(signal);
    frame.rsi = at + core::mem::offset_of!(SignalFrame, info) as u64;
    frame.rdx = at + core::mem::offset_of!(SignalFrame, uc_flags) as u64;
    frame.rax = 0;
    frame.rflags = FIXED_RFLAGS;
    Ok(())
}

/// Undoes [`push`]: the handler has returned to the restorer, which made the system call.
pub(super) fn pop(frame: &mut Frame) -> Result<()> {
    // The return popped the restorer's address.
    let signal_frame: SignalFrame = user::read(frame.rsp.wrapping_sub(8))?;
    let context = &signal_frame.context;
    // An iretq in ring 1 to an address that is not canonical would fault in the kernel.
    if context.rip >= USER_END {
        return Err(Errno::EFAULT);
    }
    *frame = Frame {
        r8: context.r8,
        r9: context.r9,
        r10: context.r10,
        r11: context.r11,
        r12: context.r12,
        r13: context.r13,
        r14: context.r14,
        r15: context.r15,
        rdi: context.rdi,
        rsi: context.rsi,
        rbp: context.rbp,
        rbx: context.rbx,
        rdx: context.rdx,
        rax: context.rax,
        rcx: context.rcx,
        rsp: context.rsp,
        rip: context.rip,
        rflags: context.rflags & USER_RFLAGS | FIXED_RFLAGS,
        ..*frame
    };
    let mut state = current().signals.lock();
    let fpu = state.interrupted_fpu.pop();
    state.blocked = signal_frame.mask & !(1 << 8 | 1 << 18);
    drop(state);
    if let Some(fpu) = fpu {
        fpu.restore();
    }
    // A signal may have become unblocked.
    super::sched::note_signal(current());
    Ok(())
}
