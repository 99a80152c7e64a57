//! The ring that the hypervisor put this kernel in. The same file runs in both: what differs is here, in the stubs of
//! [`guard`](crate::guard), and in what attacks expect.

use core::arch::asm;
use core::sync::atomic::{AtomicU8, Ordering};

use paravane_abi::ring1::{RING1_CS64, RING1_SS, USER_CS64, USER_SS};

/// 1 in ring 3. The stubs read it.
#[unsafe(no_mangle)]
static kernel_in_ring3: AtomicU8 = AtomicU8::new(0);

/// Looks at CS, which the hypervisor chose.
pub fn initialise() {
    let cs: u64;
    // SAFETY: reads a selector.
    unsafe { asm!("mov {0:r}, cs", out(reg) cs, options(nomem, nostack, preserves_flags)) };
    kernel_in_ring3.store(u8::from(cs & 3 == 3), Ordering::Relaxed);
}

/// Whether this kernel runs in ring 3.
pub fn is_3() -> bool {
    kernel_in_ring3.load(Ordering::Relaxed) != 0
}

/// This kernel's code selector.
pub fn code() -> u16 {
    if is_3() { USER_CS64 } else { RING1_CS64 }
}

/// The same as frames show it and as the `iret` hypercall takes it: in ring 3, RPL 0 stands for the kernel.
pub fn shown_code() -> u64 {
    if is_3() { u64::from(USER_CS64) & !3 } else { RING1_CS64.into() }
}

/// This kernel's stack selector.
pub fn stack() -> u16 {
    if is_3() { USER_SS } else { RING1_SS }
}

/// The instruction that makes a hypercall: `int 0x82` in ring 1, `syscall` in ring 3, which changes RCX and R11.
pub fn hypercall() -> [u8; 2] {
    if is_3() { [0x0f, 0x05] } else { [0xcd, 0x82] }
}

/// Whom a frame's CS names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The kernel.
    Kernel,
    /// A program.
    Program,
    /// Nobody whom there should be.
    Nobody,
}

impl Half {
    /// Reads a CS as frames show it.
    pub fn of(cs: u64) -> Self {
        match (cs & 3, is_3()) {
            (3, _) => Self::Program,
            (1, false) | (0, true) => Self::Kernel,
            _ => Self::Nobody,
        }
    }
}
