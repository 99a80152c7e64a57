//! What depends on x86-64: entry and exit stubs, register frames, stack switches, the FPU, and the image's notes.

pub mod boot;
pub mod entry;
pub mod extable;
pub mod fpu;
pub mod frame;
pub mod notes;
pub mod stack;
pub mod switch;

use core::arch::asm;

/// The time stamp counter, ordered after earlier instructions.
pub fn rdtsc() -> u64 {
    // SAFETY: LFENCE and RDTSC only read the counter; the ABI leaves CR4.TSD clear.
    unsafe {
        core::arch::x86_64::_mm_lfence();
        core::arch::x86_64::_rdtsc()
    }
}

/// The code and stack selectors the kernel is running with.
pub fn current_selectors() -> (u64, u64) {
    let (cs, ss): (u64, u64);
    // SAFETY: reads two selectors.
    unsafe { asm!("mov {0:e}, cs", "mov {1:e}, ss", out(reg) cs, out(reg) ss, options(nomem, nostack)) };
    (cs, ss)
}

/// The ring this code runs in, from the code selector.
pub fn current_ring() -> u32 {
    let cs: u64;
    // SAFETY: reads a selector.
    unsafe { asm!("mov {}, cs", out(reg) cs, options(nomem, nostack, preserves_flags)) };
    (cs & 3) as u32
}
