//! The ends of a run.

use crate::console;
use crate::cpu_ops::{CpuOps, StopReason, machine};

/// Ends the run well.
pub fn power_off() -> ! {
    console::drain();
    machine().stop(StopReason::PowerOff)
}

/// Starts again.
pub fn reboot() -> ! {
    console::drain();
    machine().stop(StopReason::Reboot)
}

/// Ends the run badly.
pub fn crash() -> ! {
    console::drain();
    machine().stop(StopReason::Crash)
}

/// Raises an exception with a stack pointer that is the hypervisor's: there is nowhere to put the frame, and the
/// hypervisor ends the domain with a report.
pub fn break_contract() -> ! {
    console::drain();
    // SAFETY: the domain is over.
    unsafe {
        core::arch::asm!("mov rsp, {}", "ud2", in(reg) paravane_abi::ring1::ENTRY_AREA, options(noreturn));
    }
}
