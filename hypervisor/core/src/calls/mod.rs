//! Hypercalls: from the numbers in registers to a handler, and from its answer back.
//!
//! The table in `paravane_abi` decides what exists; [`Hypervisor::dispatch`] expands from it, so a row without
//! a handler does not compile. Handlers decode everything before they change anything, so that a refusal
//! leaves no trace; what cannot be done in one bounded step says so by [`Stop::AGAIN`].

mod callback;
mod console;
mod descriptor;
mod event;
mod grant;
mod memory;
mod mmu;
mod multicall;
mod older;
mod physdev;
mod privileged;
mod processor;
mod ring1;
mod sched;
#[cfg(any(test, feature = "fake"))]
mod tests;
mod time;
mod trap;
mod vcpu;
mod vcpu_context;
mod version;

pub(crate) use console::STEPS_A_BYTE;
#[cfg(any(test, feature = "fake"))]
pub use tests::several_guests;

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::PAGE_SLOTS;
use paravane_abi::regs::CpuUserRegs;

use crate::addr::VirtAddr;
use crate::guest_memory::Fault;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

/// Length of `int 0x82`, and of `syscall`: what a call is set back by to be made again.
pub const INSTRUCTION_LENGTH: u64 = 2;

/// A call as it was made.
pub struct Call<'r> {
    /// RDI, RSI, RDX, R10, R8, R9, or a multicall entry's. A handler that stops with [`Stop::AGAIN`] leaves
    /// here what the call goes on with.
    pub args: [u64; 6],
    /// The caller's registers.
    pub regs: &'r mut CpuUserRegs,
    /// Made by a multicall.
    pub nested: bool,
}

/// Why a handler has no result: an error number, or one of the constants. One word, so that a handler's answer
/// travels in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop(u64);

impl Stop {
    /// The bounded step is used up: the call is made again with the arguments in [`Call::args`].
    pub const AGAIN: Self = Self(1);
    /// The registers have been replaced, or the domain has stopped; RAX is not a result.
    pub const REPLACED: Self = Self(2);

    /// The number as a result, for a place that takes any.
    const fn result(self) -> u64 {
        self.0
    }

    /// RAX of a refused call, if that is what this is.
    const fn refused(self) -> Option<u64> {
        if self.0 > Self::REPLACED.0 { Some(self.0) } else { None }
    }
}

impl From<Errno> for Stop {
    #[inline]
    fn from(error: Errno) -> Self {
        Self(error.to_rax())
    }
}

impl From<Fault> for Stop {
    #[inline]
    fn from(_: Fault) -> Self {
        Self::from(Errno::EFAULT)
    }
}

/// A handler's answer.
pub type Answer = Result<u64, Stop>;

/// Whether a range lies where a guest may have memory. What is mapped there is another question: Xen asks this
/// one when an address is registered for later.
fn is_guest_range(address: u64, bytes: u64) -> bool {
    let last = address.checked_add(bytes - 1);
    VirtAddr::is_guest(address)
        && last.is_some_and(|last| VirtAddr::is_guest(last) && (address ^ last) >> 63 == 0)
}

/// A hypercall's handler.
type Handler<M> = fn(&mut Hypervisor<M>, &mut Call<'_>) -> Answer;

macro_rules! handlers {
    ($(
        $number:literal $name:ident $camel:ident $constant:ident [$($xen:ident)?] ($($arg:ident: $ty:ty),*)
        $callers:ident [$($error:ident)*] $doc:literal { $($subs:tt)* }
    )*) => {{
        let mut table = [Self::no_such_call as Handler<M>; PAGE_SLOTS];
        $( table[$number] = Self::$name; )*
        table
    }};
}

impl<M: Machine> Hypervisor<M> {
    /// Performs the hypercall that `regs` ask for. Only its result register changes, unless the call itself
    /// is about registers.
    #[inline]
    pub fn hypercall(&mut self, regs: &mut CpuUserRegs) {
        self.enter();
        self.counters.hypercalls += 1;
        self.counters.total_entries += 1;
        let number = regs.rax;
        let args = [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9];
        let mut call = Call { args, regs, nested: false };
        match self.dispatch(number, &mut call) {
            Ok(value) => call.regs.rax = value,
            Err(stop) => stopped(call, stop),
        }
    }

    /// The handlers by number: as many as a hypercall page has slots.
    const HANDLERS: [Handler<M>; PAGE_SLOTS] = paravane_abi::hypercall_table!(handlers);

    /// Calls the handler of a hypercall number.
    #[inline]
    fn dispatch(&mut self, number: u64, call: &mut Call<'_>) -> Answer {
        match Self::HANDLERS.get(number as usize) {
            Some(handler) => handler(self, call),
            None => self.no_such_call(call),
        }
    }

    fn no_such_call(&mut self, _: &mut Call<'_>) -> Answer {
        Err(Errno::ENOSYS.into())
    }
}

/// Ends a call that has no result.
#[cold]
fn stopped(call: Call<'_>, stop: Stop) {
    let Call { args, regs, .. } = call;
    match stop.refused() {
        Some(error) => regs.rax = error,
        None if stop == Stop::AGAIN => {
            [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = args;
            regs.rip = regs.rip.wrapping_sub(INSTRUCTION_LENGTH);
        }
        None => {}
    }
}
