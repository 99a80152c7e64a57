//! Hypercalls: from the numbers in registers to a handler, and from its answer back.
//!
//! The table in `paravane_abi` decides what exists; [`Hypervisor::dispatch`] expands from it, so a row without
//! a handler does not compile. Handlers decode everything before they change anything, so that a refusal
//! leaves no trace; what cannot be done in one bounded step says so by [`Stop::Again`].

mod callback;
mod console;
mod descriptor;
mod event;
mod memory;
mod mmu;
mod multicall;
mod processor;
mod ring1;
mod sched;
mod time;
mod trap;
mod vcpu;
mod version;

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::Hypercall;
use paravane_abi::regs::CpuUserRegs;

use crate::crash::Reason as CrashReason;
use crate::guest_memory::Fault;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

/// Length of `int 0x82`, and of `syscall`: what a call is set back by to be made again.
pub const INSTRUCTION_LENGTH: u64 = 2;

/// A call as it was made.
pub struct Call<'r> {
    /// RDI, RSI, RDX, R10, R8, R9, or a multicall entry's. A handler that stops with [`Stop::Again`] leaves
    /// here what the call goes on with.
    pub args: [u64; 6],
    /// The caller's registers.
    pub regs: &'r mut CpuUserRegs,
    /// Made by a multicall.
    pub nested: bool,
}

/// Why a handler has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Refused.
    Error(Errno),
    /// The bounded step is used up: the call is made again with the arguments in [`Call::args`].
    Again,
    /// The registers have been replaced; RAX is not a result.
    Replaced,
    /// The domain is not to run on.
    Crash(CrashReason),
}

impl From<Errno> for Stop {
    fn from(error: Errno) -> Self {
        Self::Error(error)
    }
}

impl From<Fault> for Stop {
    fn from(_: Fault) -> Self {
        Self::Error(Errno::EFAULT)
    }
}

/// A handler's answer.
pub type Answer = Result<u64, Stop>;

macro_rules! dispatch {
    ({ $self:ident $number:ident $call:ident } $(
        $_number:literal $name:ident $camel:ident $constant:ident [$($xen:ident)?] ($($arg:ident: $ty:ty),*)
        $callers:ident [$($error:ident)*] $doc:literal { $($subs:tt)* }
    )*) => {
        match Hypercall::from_number($number) {
            $( Some(Hypercall::$camel) => $self.$name($call), )*
            None => Err(Stop::Error(Errno::ENOSYS)),
        }
    };
}

impl<M: Machine> Hypervisor<M> {
    /// Performs the hypercall that `regs` ask for. Only its result register changes, unless the call itself
    /// is about registers.
    #[inline]
    pub fn hypercall(&mut self, regs: &mut CpuUserRegs) {
        self.counters.hypercalls += 1;
        self.counters.total_entries += 1;
        let number = regs.rax;
        let args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
        let mut call = Call { args, regs, nested: false };
        match self.dispatch(number, &mut call) {
            Ok(value) => call.regs.rax = value,
            Err(Stop::Error(error)) => call.regs.rax = error.to_ret() as u64,
            Err(Stop::Replaced) => {}
            Err(Stop::Again) => {
                let Call { args, regs, .. } = call;
                [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = args;
                regs.rip = regs.rip.wrapping_sub(INSTRUCTION_LENGTH);
            }
            Err(Stop::Crash(reason)) => self.crash(call.regs, reason),
        }
    }

    /// Calls the handler of a hypercall number.
    #[inline]
    fn dispatch(&mut self, number: u64, call: &mut Call<'_>) -> Answer {
        paravane_abi::hypercall_table!(dispatch, self number call)
    }
}
