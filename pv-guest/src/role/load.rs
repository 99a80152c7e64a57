//! Domains that are in the way: one that never gives the processor up, one that never wants it, one that dies.

use pv_guest_logic::role::Role;

use super::{NS_PER_S, duration_ns, report, seconds};
use crate::cpu_ops::machine;
use crate::power;
use crate::time::monotonic_ns;

/// Spins without a hypercall, its events masked, for 12 s of guest time or `seconds=`.
pub fn spin() {
    spin_for(seconds(12));
}

/// Spins with events masked for some seconds of guest time, or 0 for ever.
pub fn spin_for(seconds: u64) {
    let duration = duration_ns(seconds);
    let was_masked = machine().mask_events();
    let start = monotonic_ns();
    while duration.is_none_or(|duration| monotonic_ns() - start < duration) {
        core::hint::spin_loop();
    }
    machine().restore_events(was_masked);
    report(Role::Spin, true, format_args!("{seconds} s with events masked"));
}

/// Blocks until 12 s of guest time have passed, or `seconds=`; for ever it blocks without a timer.
pub fn idle() {
    let start = monotonic_ns();
    let end = duration_ns(seconds(12)).map(|duration| start + duration);
    let mut wakes = 0u64;
    while end.is_none_or(|end| monotonic_ns() < end) {
        machine().set_timer(end);
        machine().idle();
        wakes += 1;
    }
    report(Role::Idle, true, format_args!("{} s, woken {wakes} times", (monotonic_ns() - start) / NS_PER_S));
}

/// Has the hypervisor end the domain.
pub fn crash_iret() -> ! {
    report(Role::CrashIret, true, format_args!("returns through a stack that is not there"));
    power::return_from_nowhere()
}
