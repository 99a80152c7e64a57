//! `set_timer_op(timeout)`, call 15 (xen/include/public/xen.h): raises the caller's `VIRQ_TIMER` at a system time in nanoseconds; the timer
//! is that of `VCPUOP_set_singleshot_timer`. 0 stops it.
//!
//! A time that has passed raises it at once, one that is negative or more than about 13 days away after 100 milliseconds.

use paravane_abi::hypercall::HYPERVISOR_SET_TIMER_OP;
use pv_probe::events;
use pv_probe::hypercall::raw;
use pv_probe::time::{self, MILLISECOND, SLACK};

use crate::case::{Case, Row, Verdict};
use crate::rows::vcpu_op::with_timer;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "set_timer_op",
    &[
        Case::good("fires", "the timer's port is raised, not before its time", fires),
        Case::good("once", "and not again", once),
        Case::good("stops", "0 stops a timer that was set before", stops),
        Case::good("passed", "a time that has passed is now", passed),
        Case::good("set-anew", "a time takes the place of the one before", set_anew),
        Case::good("negative", "a negative time is in 100 milliseconds", |t| far(t, u64::MAX - 5)),
        Case::good("far", "a time weeks away is in 100 milliseconds", |t| far(t, 1 << 52)),
        Case::good("nobody-listens", "a timer without a port runs out unseen", nobody),
    ],
)
.no_refusal("every time means something");

/// Sets the timer: the result.
pub fn set(timeout: u64) -> i64 {
    raw(HYPERVISOR_SET_TIMER_OP, [timeout, 0, 0, 0, 0])
}

fn fires(t: &mut Trial) -> Verdict {
    with_timer(t, |t, port| {
        let end = time::now() + 3 * SLACK;
        t.succeeds("set", set(end));
        // A vcpu that had to wait for its processor may find the time gone.
        t.holds("not-yet", !events::is_pending(port) || time::now() + SLACK >= end);
        t.holds("raised", events::wait_pending(port, 500));
        let now = time::now();
        t.holds("not-before", now + SLACK >= end);
        t.holds("soon", now < end + 300 * MILLISECOND);
    })
}

fn once(t: &mut Trial) -> Verdict {
    with_timer(t, |t, port| {
        t.succeeds("set", set(time::now() + MILLISECOND));
        t.holds("raised", events::wait_pending(port, 500));
        events::clear(port);
        time::wait(10 * MILLISECOND);
        t.holds("quiet", !events::is_pending(port));
    })
}

fn stops(t: &mut Trial) -> Verdict {
    with_timer(t, |t, port| {
        t.succeeds("set", set(time::now() + 10 * MILLISECOND));
        t.succeeds("stop", set(0));
        time::wait(20 * MILLISECOND);
        t.holds("quiet", !events::is_pending(port));
    })
}

fn passed(t: &mut Trial) -> Verdict {
    with_timer(t, |t, port| {
        t.succeeds("set", set(1));
        t.holds("raised", events::wait_pending(port, 500));
    })
}

fn set_anew(t: &mut Trial) -> Verdict {
    with_timer(t, |t, port| {
        t.succeeds("late", set(time::now() + 60_000 * MILLISECOND));
        t.succeeds("early", set(time::now() + 2 * MILLISECOND));
        t.holds("raised", events::wait_pending(port, 500));
    })
}

fn far(t: &mut Trial, timeout: u64) -> Verdict {
    with_timer(t, |t, port| {
        let before = time::now();
        t.succeeds("set", set(timeout));
        t.holds("raised", events::wait_pending(port, 2000));
        t.holds("not-at-once", time::now() >= before + 90 * MILLISECOND);
    })
}

fn nobody(t: &mut Trial) -> Verdict {
    events::settle();
    t.succeeds("set", set(time::now() + MILLISECOND));
    time::wait(5 * MILLISECOND);
    t.holds("quiet", !events::is_upcall_pending(0));
    Ok(())
}
