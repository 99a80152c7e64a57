//! Time as a PV guest sees it: a clock it computes from the TSC, a wall clock, timers, and how long its vcpus ran.
//!
//! All is nanoseconds of system time, which starts at 0 with the hypervisor. Functions take the current time as
//! an argument and return what is to happen, so nothing here waits or reads a clock.

mod clock;
mod publish;
mod runstate;
mod timer;

pub use clock::Clock;
pub use publish::{TimePublisher, publish_runstate};
pub use runstate::{Runstate, RunstateClock};
pub use timer::{Due, PERIOD_DEFAULT_NS, VcpuTimers};
