//! `VCPUOP_stop_singleshot_timer` (vcpu.h): stops the caller's timer that `VCPUOP_set_singleshot_timer` or `set_timer_op` has set, if it
//! has.
//!
//! Refused: another vcpu (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::vcpu::VCPUOP_STOP_SINGLESHOT_TIMER;
use pv_probe::events;
use pv_probe::time::{self, SLACK};

use super::{call, set_singleshot_timer, with_timer};
use crate::case::{Case, Row, Verdict};
use crate::rows::event_channel_op::needs_vcpu;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "vcpu_op",
    "stop_singleshot_timer",
    &[
        Case::good("stops", "the timer's port is not raised at the time that was set", stops),
        Case::good("not-running", "a timer that does not run", not_running),
        Case::refusal("other-vcpu", "another vcpu's", other_vcpu),
    ],
);

fn stops(t: &mut Trial) -> Verdict {
    with_timer(t, |t, port| {
        t.succeeds("set", set_singleshot_timer::set(0, time::now() + 4 * SLACK, 0));
        t.succeeds("stop", call(VCPUOP_STOP_SINGLESHOT_TIMER, 0, 0));
        t.holds("not-yet", !events::is_pending(port));
        time::wait(6 * SLACK);
        t.holds("quiet", !events::is_pending(port));
    })
}

fn not_running(t: &mut Trial) -> Verdict {
    for name in ["first", "second"] {
        t.succeeds(name, call(VCPUOP_STOP_SINGLESHOT_TIMER, 0, 0));
    }
    Ok(())
}

fn other_vcpu(t: &mut Trial) -> Verdict {
    needs_vcpu(1)?;
    t.refused("stop", Errno::EINVAL, || call(VCPUOP_STOP_SINGLESHOT_TIMER, 1, 0));
    Ok(())
}
