//! Raw hypercalls, one stub for each row of the ABI's table: a call into the page that the hypervisor filled, which
//! hides the instruction.
//!
//! A slot takes its arguments in RDI, RSI, RDX, R10 and R8, returns in RAX, and keeps every register besides.

use core::arch::asm;
use core::ptr;

use paravane_abi::hypercall::{HYPERVISOR_IRET, SLOT_SIZE};
use paravane_abi::ring1::{RING1_OP_READ_COUNTERS, Ring1Counters};

use super::Refused;

unsafe extern "C" {
    static hypercall_page: u8;
}

macro_rules! invoke {
    ($number:literal, $($register:tt $value:expr),*) => {{
        let result: i64;
        // SAFETY: the slot is a function that keeps all registers but RAX and the arguments'; the stub's caller vouches for its
        // effect.
        unsafe {
            asm!(
                "call {page} + {offset}",
                page = sym hypercall_page,
                offset = const $number * SLOT_SIZE,
                // A call that was interrupted and went on leaves its arguments changed.
                $(inlateout($register) $value as u64 => _,)*
                lateout("rax") result,
            );
        }
        result
    }};
}

// Gives each argument its register.
macro_rules! pair {
    ($nr:literal) => { invoke!($nr,) };
    ($nr:literal $a:ident) => { invoke!($nr, "rdi" $a) };
    ($nr:literal $a:ident $b:ident) => { invoke!($nr, "rdi" $a, "rsi" $b) };
    ($nr:literal $a:ident $b:ident $c:ident) => { invoke!($nr, "rdi" $a, "rsi" $b, "rdx" $c) };
    ($nr:literal $a:ident $b:ident $c:ident $d:ident) => { invoke!($nr, "rdi" $a, "rsi" $b, "rdx" $c, "r10" $d) };
    ($nr:literal $a:ident $b:ident $c:ident $d:ident $e:ident) => {
        invoke!($nr, "rdi" $a, "rsi" $b, "rdx" $c, "r10" $d, "r8" $e)
    };
}

macro_rules! stubs {
    ($(
        $number:literal $name:ident $camel:ident $constant:ident [$($xen:ident)?] ($($arg:ident: $ty:ty),*)
        $callers:ident [$($error:ident)*] $doc:literal { $($subs:tt)* }
    )*) => {$(
        #[doc = $doc]
        ///
        /// # Safety
        /// The arguments must be right for the call: the hypervisor checks that it harms nobody else, not that it is
        /// good for this kernel.
        // The table has every call; this kernel does not use all.
        #[allow(dead_code, clippy::unnecessary_cast)]
        #[inline(always)]
        pub unsafe fn $name($($arg: $ty),*) -> i64 {
            pair!($number $($arg)*)
        }
    )*};
}
paravane_abi::hypercall_table!(stubs);

/// A hypercall's result as a `Result`.
pub fn check(result: i64) -> Result<u64, Refused> {
    if result < 0 { Err(Refused(result)) } else { Ok(result as u64) }
}

/// `xen_version` sub-operation 0, which returns the version and does nothing else: the cheapest round trip, and the call
/// that makes the hypervisor look for pending events.
#[inline(always)]
pub fn raw_null_hypercall() -> i64 {
    // SAFETY: the sub-operation ignores its pointer.
    unsafe { xen_version(paravane_abi::version::XENVER_VERSION, ptr::null_mut()) }
}

/// The address of the page.
pub fn page() -> u64 {
    &raw const hypercall_page as u64
}

/// Where hypercall 23 goes on after its slot has pushed RCX, R11 and RAX: for a stack that cannot take them.
pub fn iret_after_pushes() -> u64 {
    /// `push rcx`, `push r11`, `push rax`: both kinds of page begin the slot so.
    const PUSHES: u64 = 4;
    page() + HYPERVISOR_IRET * SLOT_SIZE as u64 + PUSHES
}

/// The hypervisor's counts of what it did for this guest.
#[inline(always)]
pub fn read_counters() -> Ring1Counters {
    let mut counters = Ring1Counters::default();
    // SAFETY: the hypervisor writes one `Ring1Counters` at the pointer.
    let result = unsafe { ring1_op(RING1_OP_READ_COUNTERS, (&raw mut counters).cast()) };
    assert!(result == 0, "ring1_op: {result}");
    counters
}
