//! The ring that the hypervisor put this kernel in, and what differs by it.

use core::arch::asm;
use core::sync::atomic::{AtomicU8, Ordering};

use paravane_abi::ring1::{RING1_CS64, RING1_SS};
use paravane_abi::segment::{FLAT_KERNEL_CS, FLAT_KERNEL_SS};

/// 1 in ring 1. The stubs of [`guard`](crate::guard) read it.
#[unsafe(no_mangle)]
static probe_in_ring1: AtomicU8 = AtomicU8::new(0);

/// Looks at CS, which the hypervisor chose.
pub(crate) fn initialise() {
    let cs: u64;
    // SAFETY: reads a selector.
    unsafe { asm!("mov {0:r}, cs", out(reg) cs, options(nomem, nostack, preserves_flags)) };
    probe_in_ring1.store(u8::from(cs & 3 == 1), Ordering::Relaxed);
}

/// Whether this kernel runs in ring 1.
pub fn is_1() -> bool {
    probe_in_ring1.load(Ordering::Relaxed) != 0
}

/// This kernel's code selector.
pub fn code() -> u16 {
    if is_1() { RING1_CS64 } else { FLAT_KERNEL_CS }
}

/// This kernel's code selector as frames show it and the `iret` hypercall takes it: in ring 3, RPL 0 stands for the kernel.
pub fn shown_code() -> u64 {
    if is_1() { RING1_CS64.into() } else { u64::from(FLAT_KERNEL_CS) & !3 }
}

/// This kernel's stack selector.
pub fn stack() -> u16 {
    if is_1() { RING1_SS } else { FLAT_KERNEL_SS }
}

/// The instruction that makes a hypercall: `int 0x82` in ring 1, `syscall` in ring 3, which changes RCX and R11.
pub fn hypercall() -> [u8; 2] {
    if is_1() { [0xcd, 0x82] } else { [0x0f, 0x05] }
}
