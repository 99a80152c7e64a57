//! The time: system time by the parameters in the shared page, and waiting.

use core::arch::x86_64::_rdtsc;

use crate::events::vcpu;
use crate::hypercall::yield_now;

/// Nanoseconds of a millisecond.
pub const MILLISECOND: u64 = 1_000_000;

/// How far the time that a guest computes may be from the hypervisor's: both extrapolate from a stamp, and in an emulator
/// the counter and the clocks of the timers are not the same.
pub const SLACK: u64 = 25 * MILLISECOND;

/// The processor's ticks.
pub fn ticks() -> u64 {
    // SAFETY: reads a counter.
    unsafe { _rdtsc() }
}

/// System time in nanoseconds, as vcpu 0 is told it.
pub fn now() -> u64 {
    vcpu(0).time().system_time_at(ticks())
}

/// System time in nanoseconds by another vcpu's parameters, which fit the ticks of the processor that it runs on.
pub fn now_on(number: usize) -> u64 {
    vcpu(number).time().system_time_at(ticks())
}

/// Waits so many nanoseconds.
pub fn wait(nanoseconds: u64) {
    wait_on(0, nanoseconds);
}

/// Waits so many nanoseconds, on another vcpu.
pub fn wait_on(number: usize, nanoseconds: u64) {
    let end = now_on(number) + nanoseconds;
    while now_on(number) < end {
        yield_now();
    }
}
