//! Signals, after Linux: default actions (ignore or terminate; there is no stopping), ignoring, and handlers.

use alloc::sync::Arc;
use alloc::vec::Vec;

use spin::{Mutex, MutexGuard};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Process, State, all, current, exit_current, find, sched, sigframe};
use crate::arch::fpu::FpuState;
use crate::arch::frame::Frame;
use crate::errno::{Errno, Result};

macro_rules! signals {
    ($($name:ident = $number:literal),* $(,)?) => {
        $(
            // All of Linux's that a program may meet; the kernel itself sends only some.
            #[allow(missing_docs, dead_code)]
            pub const $name: u32 = $number;
        )*
    };
}

signals! {
    SIGHUP = 1, SIGINT = 2, SIGQUIT = 3, SIGILL = 4, SIGTRAP = 5, SIGABRT = 6, SIGBUS = 7, SIGFPE = 8, SIGKILL = 9,
    SIGUSR1 = 10, SIGSEGV = 11, SIGUSR2 = 12, SIGPIPE = 13, SIGALRM = 14, SIGTERM = 15, SIGCHLD = 17, SIGCONT = 18,
    SIGSTOP = 19, SIGTSTP = 20, SIGTTIN = 21, SIGTTOU = 22, SIGURG = 23, SIGWINCH = 28,
}

/// One past the largest signal number.
const SIGNALS: usize = 65;
const SIG_DFL: u64 = 0;
const SIG_IGN: u64 = 1;

/// What a program asked to be done about a signal (`struct kernel_sigaction`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SigAction {
    /// 0 default, 1 ignore, else the handler.
    pub handler: u64,
    /// `SA_*`.
    pub flags: u64,
    /// Where the handler returns to.
    pub restorer: u64,
    /// Signals blocked while it runs.
    pub mask: u64,
}

/// The handler's signal is not blocked while it runs.
pub(super) const SA_NODEFER: u64 = 0x4000_0000;
/// The action falls back to the default when the handler starts.
pub(super) const SA_RESETHAND: u64 = 0x8000_0000;

/// A process's signals.
pub struct SignalState {
    /// By number; shared by the threads of a process, and on the heap because it is most of a process's record, which is
    /// moved about on small stacks.
    actions: Arc<Mutex<Vec<SigAction>>>,
    /// Bit n-1 for signal n.
    pub(super) blocked: u64,
    pending: u64,
    /// The mask from before `rt_sigsuspend`, until a handler's frame or the end of the call restores it.
    pub(super) restore_mask: Option<u64>,
    /// The FPU states that running handlers interrupted, innermost last: kept here, where programs cannot forge them.
    pub(super) interrupted_fpu: Vec<FpuState>,
}

fn bit(signal: u32) -> u64 {
    1 << (signal - 1)
}

fn unblockable() -> u64 {
    bit(SIGKILL) | bit(SIGSTOP)
}

fn ignored_by_default(signal: u32) -> bool {
    matches!(signal, SIGCHLD | SIGCONT | SIGSTOP | SIGTSTP | SIGTTIN | SIGTTOU | SIGURG | SIGWINCH)
}

fn valid(signal: u32) -> Result<()> {
    if signal != 0 && (signal as usize) < SIGNALS { Ok(()) } else { Err(Errno::EINVAL) }
}

impl SignalState {
    /// Everything at its default.
    pub fn new() -> Self {
        Self {
            actions: Arc::new(Mutex::new(alloc::vec![SigAction::default(); SIGNALS])),
            blocked: 0,
            pending: 0,
            restore_mask: None,
            interrupted_fpu: Vec::new(),
        }
    }

    /// What a child starts with: the actions and the mask.
    pub fn inherit(&self) -> Self {
        let actions = Arc::new(Mutex::new(self.actions.lock().clone()));
        Self { actions, ..self.share() }
    }

    /// What another thread starts with: the mask, and the same actions.
    pub fn share(&self) -> Self {
        Self {
            actions: self.actions.clone(),
            blocked: self.blocked,
            pending: 0,
            restore_mask: None,
            interrupted_fpu: Vec::new(),
        }
    }

    fn action(&self, signal: u32) -> SigAction {
        self.actions.lock()[signal as usize]
    }

    /// Sets what is done about a signal.
    pub(super) fn set_action(&self, signal: u32, action: SigAction) {
        self.actions.lock()[signal as usize] = action;
    }

    /// What a newly executed program keeps: ignored signals, the mask, and what is pending.
    pub fn reset_handlers(&mut self) {
        for action in self.actions.lock().iter_mut() {
            if action.handler != SIG_IGN {
                *action = SigAction::default();
            }
        }
        self.interrupted_fpu.clear();
    }

    fn discards(&self, signal: u32) -> bool {
        match self.action(signal).handler {
            SIG_IGN => true,
            SIG_DFL => ignored_by_default(signal),
            _ => false,
        }
    }

    fn deliverable(&self) -> u64 {
        self.pending & !self.blocked
    }

    fn take_next(&mut self) -> Option<u32> {
        let ready = self.deliverable();
        if ready == 0 {
            return None;
        }
        let signal = ready.trailing_zeros() + 1;
        self.pending &= !bit(signal);
        Some(signal)
    }
}

impl Default for SignalState {
    fn default() -> Self {
        Self::new()
    }
}

fn state(process: &Process) -> MutexGuard<'_, SignalState> {
    process.signals.lock()
}

/// Whether a process must handle a signal before it runs in ring 3.
pub(super) fn has_pending(process: &Process) -> bool {
    state(process).deliverable() != 0
}

/// Whether a wait of the current process must end.
pub fn pending_interrupt() -> bool {
    has_pending(current())
}

/// Sends a signal to a process.
pub fn post(process: &Arc<Process>, signal: u32) {
    if process.state() == State::Zombie {
        return;
    }
    {
        let mut state = state(process);
        if state.discards(signal) {
            return;
        }
        state.pending |= bit(signal);
        if state.deliverable() == 0 {
            return;
        }
    }
    sched::note_signal(process);
    sched::wake(process);
}

/// Whether a signal the current process causes would end it.
pub fn is_fatal(process: &Process, signal: u32) -> bool {
    let state = state(process);
    state.blocked & bit(signal) != 0 || state.action(signal).handler <= SIG_IGN
}

/// Makes the current process take a signal that its own instruction caused. One that is blocked or ignored ends it: the
/// instruction cannot be passed.
pub fn force(process: &Process, signal: u32) {
    let mut state = state(process);
    if state.blocked & bit(signal) != 0 || state.action(signal).handler == SIG_IGN {
        state.set_action(signal, SigAction::default());
        state.blocked &= !bit(signal);
    }
    state.pending |= bit(signal);
    sched::note_signal(process);
}

/// `kill` for one process; signal 0 only asks whether it exists.
pub fn send_pid(pid: u32, signal: u32) -> Result<()> {
    let process = find(pid).ok_or(Errno::ESRCH)?;
    if signal == 0 {
        return Ok(());
    }
    valid(signal)?;
    post(&process, signal);
    Ok(())
}

/// `kill` for a process group.
pub fn send_group(pgid: u32, signal: u32) -> Result<()> {
    if signal != 0 {
        valid(signal)?;
    }
    let members = all().into_iter().filter(|process| process.is_leader() && process.pgid() == pgid);
    let count = members
        .inspect(|process| {
            if signal != 0 {
                post(process, signal)
            }
        })
        .count();
    if count == 0 { Err(Errno::ESRCH) } else { Ok(()) }
}

/// `rt_sigaction`: gives the old action.
pub fn sigaction(signal: u32, new: Option<SigAction>) -> Result<SigAction> {
    valid(signal)?;
    let mut state = state(current());
    let old = state.action(signal);
    if let Some(new) = new {
        if unblockable() & bit(signal) != 0 {
            return Err(Errno::EINVAL);
        }
        state.set_action(signal, new);
        if state.discards(signal) {
            state.pending &= !bit(signal);
        }
    }
    Ok(old)
}

/// `rt_sigprocmask`: gives the old mask. `how` is 0 block, 1 unblock, 2 set.
pub fn sigprocmask(how: i32, set: Option<u64>) -> Result<u64> {
    let mut state = state(current());
    let old = state.blocked;
    if let Some(set) = set {
        let new = match how {
            0 => old | set,
            1 => old & !set,
            2 => set,
            _ => return Err(Errno::EINVAL),
        };
        state.blocked = new & !unblockable();
        if state.deliverable() != 0 {
            sched::note_signal(current());
        }
    }
    Ok(old)
}

/// `rt_sigsuspend`: waits for a signal under another mask. Always ends with `EINTR`.
pub fn sigsuspend(mask: u64) -> Result<u64> {
    {
        let mut state = state(current());
        state.restore_mask = Some(state.blocked);
        state.blocked = mask & !unblockable();
    }
    // Nothing else ends this wait. The mask comes back on the way to ring 3.
    let result = super::sleep_until(u64::MAX);
    sched::note_signal(current());
    result.and(Err(Errno::EINTR))
}

/// Acts on the current process's signals before it returns to ring 3.
pub(super) fn deliver(frame: &mut Frame) {
    loop {
        let next = state(current()).take_next();
        let Some(signal) = next else {
            let mut state = state(current());
            if let Some(mask) = state.restore_mask.take() {
                state.blocked = mask;
            }
            return;
        };
        let action = state(current()).action(signal);
        match action.handler {
            SIG_IGN => {}
            SIG_DFL if ignored_by_default(signal) => {}
            SIG_DFL => exit_current(signal as i32),
            _ => {
                // A stack that cannot take the frame leaves nothing to return to.
                if sigframe::push(frame, signal, &action).is_err() {
                    exit_current(SIGSEGV as i32);
                }
            }
        }
    }
}

/// `rt_sigreturn`: restores what a handler interrupted; the result is its RAX.
pub fn sigreturn(frame: &mut Frame) -> i64 {
    if sigframe::pop(frame).is_err() {
        force(current(), SIGSEGV);
    }
    frame.rax as i64
}
