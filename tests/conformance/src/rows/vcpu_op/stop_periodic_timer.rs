//! `VCPUOP_stop_periodic_timer` (vcpu.h): stops what `VCPUOP_set_periodic_timer` has started, if it has.

use paravane_abi::vcpu::VCPUOP_STOP_PERIODIC_TIMER;
use pv_probe::events;
use pv_probe::time::{self, MILLISECOND};

use super::{call, set_periodic_timer, with_timer};
use crate::case::{Case, Row, Verdict};
use crate::rows::event_channel_op::needs_vcpu;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "vcpu_op",
    "stop_periodic_timer",
    &[
        Case::good("stops", "the timer's port is raised no more", stops),
        Case::good("not-running", "a timer that does not run", not_running),
        Case::good("other-vcpu", "that of another vcpu", other_vcpu),
    ],
)
.no_refusal("every vcpu's timer can be stopped");

fn stops(t: &mut Trial) -> Verdict {
    with_timer(t, |t, port| {
        t.succeeds("set", set_periodic_timer::set(0, 2 * MILLISECOND));
        t.holds("runs", events::wait_pending(port, 500));
        t.succeeds("stop", call(VCPUOP_STOP_PERIODIC_TIMER, 0, 0));
        events::settle();
        time::wait(10 * MILLISECOND);
        t.holds("quiet", !events::is_pending(port));
    })
}

fn not_running(t: &mut Trial) -> Verdict {
    for name in ["first", "second"] {
        t.succeeds(name, call(VCPUOP_STOP_PERIODIC_TIMER, 0, 0));
    }
    Ok(())
}

fn other_vcpu(t: &mut Trial) -> Verdict {
    needs_vcpu(1)?;
    t.succeeds("stop", call(VCPUOP_STOP_PERIODIC_TIMER, 1, 0));
    Ok(())
}
