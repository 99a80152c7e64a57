//! `VCPUOP_set_periodic_timer` (vcpu.h, `struct vcpu_set_periodic_timer`): raises `VIRQ_TIMER` of a vcpu again and again, every so many
//! nanoseconds, at least a millisecond.
//!
//! Refused: a struct that cannot be read (`EFAULT`), a shorter period, and one so long that time would overflow (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::event::VIRQ_TIMER;
use paravane_abi::vcpu::{VCPUOP_SET_PERIODIC_TIMER, VCPUOP_STOP_PERIODIC_TIMER, VcpuSetPeriodicTimer};
use pv_probe::events;
use pv_probe::hypercall::vcpu_operation;
use pv_probe::time::{self, MILLISECOND};

use super::{call, unusable, with_timer};
use crate::case::{Case, Row, Verdict};
use crate::rows::event_channel_op::{close_all, got, needs_vcpu};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "vcpu_op",
    "set_periodic_timer",
    &[
        Case::good("again-and-again", "the timer's port is raised three times and more", again),
        Case::good("shortest", "a period of a millisecond", shortest),
        Case::good("set-anew", "a period takes the place of the one before", set_anew),
        Case::good("other-vcpu", "that of another vcpu, which may be down", other_vcpu),
        Case::refusal("too-short", "a nanosecond less than a millisecond, and none", too_short),
        Case::refusal("too-long", "a period past all time", too_long),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unusable(t, VCPUOP_SET_PERIODIC_TIMER);
            Ok(())
        }),
    ],
);

/// Starts the timer of a vcpu: the result.
pub fn set(vcpu: u32, period_ns: u64) -> i64 {
    vcpu_operation(VCPUOP_SET_PERIODIC_TIMER, vcpu, &mut VcpuSetPeriodicTimer { period_ns })
}

/// How often a port is raised, up to so many times, each within half a second.
fn raised(port: u32, times: u64) -> u64 {
    (0..times)
        .take_while(|_| {
            let is = events::wait_pending(port, 500);
            events::clear(port);
            events::acknowledge(0);
            is
        })
        .count() as u64
}

fn again(t: &mut Trial) -> Verdict {
    with_timer(t, |t, port| {
        let start = time::now();
        t.succeeds("set", set(0, 2 * MILLISECOND));
        t.equal("raised", raised(port, 5), 5);
        // The first may come at once.
        t.holds("not-faster", time::now() >= start + 7 * MILLISECOND);
    })
}

fn shortest(t: &mut Trial) -> Verdict {
    with_timer(t, |t, port| {
        t.succeeds("set", set(0, MILLISECOND));
        t.equal("raised", raised(port, 3), 3);
    })
}

fn set_anew(t: &mut Trial) -> Verdict {
    with_timer(t, |t, port| {
        t.succeeds("long", set(0, 1 << 40));
        t.succeeds("short", set(0, MILLISECOND));
        t.equal("raised", raised(port, 3), 3);
    })
}

fn other_vcpu(t: &mut Trial) -> Verdict {
    needs_vcpu(1)?;
    events::settle();
    events::acknowledge(1);
    let port = got("the timer's port", events::bind_virq(VIRQ_TIMER, 1))?;
    t.succeeds("set", set(1, MILLISECOND));
    let up = |t: &mut Trial| t.succeeds("stop", call(VCPUOP_STOP_PERIODIC_TIMER, 1, 0));
    up(t);
    events::acknowledge(1);
    close_all(t, &[port]);
    Ok(())
}

fn too_short(t: &mut Trial) -> Verdict {
    for (name, period) in [("nanosecond-less", MILLISECOND - 1), ("none", 0)] {
        t.refused(name, Errno::EINVAL, || set(0, period));
    }
    Ok(())
}

fn too_long(t: &mut Trial) -> Verdict {
    t.refused("all-ones", Errno::EINVAL, || set(0, u64::MAX));
    Ok(())
}
