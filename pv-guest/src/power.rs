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
