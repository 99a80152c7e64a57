//! What depends on x86-64: entry and exit stubs, register frames, stack switches, the FPU, and the image's notes.

pub mod boot;
pub mod cpuid;
pub mod entry;
mod entry_ring3;
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

/// The ring this code runs in, from the code selector.
pub fn current_ring() -> u32 {
    let cs: u64;
    // SAFETY: reads a selector.
    unsafe { asm!("mov {}, cs", out(reg) cs, options(nomem, nostack, preserves_flags)) };
    (cs & 3) as u32
}
