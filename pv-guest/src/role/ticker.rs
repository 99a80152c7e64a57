//! A 100 Hz timer, and how many of its ticks came too late.

use pv_guest_logic::role::Role;
use pv_guest_logic::ticks::Ticks;

use super::{NS_PER_S, duration_ns, report, seconds};
use crate::cpu_ops::machine;
use crate::time::monotonic_ns;

const PERIOD_NS: u64 = NS_PER_S / 100;

/// Ticks for 10 s of guest time or `seconds=`, blocking in between.
pub fn run() {
    let duration = duration_ns(seconds(10)).unwrap_or(u64::MAX / 2);
    let start = monotonic_ns();
    let mut ticks = Ticks::new(start, PERIOD_NS);
    while ticks.deadline() <= start + duration {
        machine().set_timer(Some(ticks.deadline()));
        machine().idle();
        ticks.handle(monotonic_ns());
    }
    report(
        Role::Ticker,
        ticks.is_good(),
        format_args!(
            "{} ticks due in {} s, {} missed, at most {} ns late",
            ticks.due(),
            (monotonic_ns() - start) / NS_PER_S,
            ticks.missed(),
            ticks.worst_delay()
        ),
    );
}
