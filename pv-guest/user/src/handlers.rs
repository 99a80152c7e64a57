//! What signals do to this process.

use core::sync::atomic::{AtomicUsize, Ordering};

use crate::sys::{self, Result};

/// What a process does with a signal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// The usual effect.
    Default,
    /// Nothing.
    Ignore,
    /// Interrupt a blocking call with EINTR (an empty handler).
    Interrupt,
    /// Go on at an address, with all other registers as they were. There is one for all signals, the last that was set.
    GoOnAt(usize),
}

/// `struct sigaction` as the kernel takes it.
#[repr(C)]
struct SigAction {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

const SA_RESTORER: u64 = 0x0400_0000;

/// [`Disposition::GoOnAt`]'s.
static GO_ON_AT: AtomicUsize = AtomicUsize::new(0);
/// Of RIP in `struct ucontext` on x86-64: general register 16, behind 40 bytes.
const CONTEXT_RIP: usize = 40 + 16 * 8;

core::arch::global_asm!(
    ".text",
    "ulib_signal_handler:",
    "ret",
    // RDX points to the context that is returned to.
    "ulib_signal_go_on:",
    "mov rax, [rip + {go_on_at}]",
    "mov [rdx + {context_rip}], rax",
    "ret",
    // A handler returns here; the kernel unwinds the frame (`rt_sigreturn` is 15).
    "ulib_signal_restorer:",
    "mov eax, 15",
    "syscall",
    go_on_at = sym GO_ON_AT,
    context_rip = const CONTEXT_RIP,
);

unsafe extern "C" {
    fn ulib_signal_handler();
    fn ulib_signal_go_on();
    fn ulib_signal_restorer();
}

/// Sets what `signal` does.
pub fn set_signal(signal: usize, disposition: Disposition) -> Result<()> {
    let handler = match disposition {
        Disposition::Default => 0,
        Disposition::Ignore => 1,
        Disposition::Interrupt => ulib_signal_handler as *const () as usize,
        Disposition::GoOnAt(address) => {
            GO_ON_AT.store(address, Ordering::Relaxed);
            ulib_signal_go_on as *const () as usize
        }
    };
    let restorer = ulib_signal_restorer as *const () as usize;
    let action = SigAction { handler, flags: SA_RESTORER, restorer, mask: 0 };
    // SAFETY: the structure lives across the call and names a handler that only returns.
    unsafe { sys::syscall(sys::nr::RT_SIGACTION, [signal, &raw const action as usize, 0, 8, 0, 0])? };
    Ok(())
}
