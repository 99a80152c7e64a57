//! Clocks.

use crate::cpu_ops::machine;

/// Nanoseconds since the machine started.
pub fn monotonic_ns() -> u64 {
    machine().system_time()
}

/// Nanoseconds since 1970.
pub fn realtime_ns() -> u64 {
    machine().wall_clock_base() + monotonic_ns()
}
