//! `VCPUOP_set_singleshot_timer` (vcpu.h, `struct vcpu_set_singleshot_timer`): raises `VIRQ_TIMER` of the caller once, at a system time. One
//! that has passed raises it at once, whether `VCPU_SSHOTTMR_future` is set or not: Xen 4.17 ignores the flag, as vcpu.h allows.
//!
//! Refused: another vcpu (`EINVAL`, before anything is read), a struct that cannot be read (`EFAULT`).

use paravane_abi::errno::Errno;
use paravane_abi::vcpu::{VCPU_SSHOTTMR_FUTURE, VCPUOP_SET_SINGLESHOT_TIMER, VcpuSetSingleshotTimer};
use pv_probe::events;
use pv_probe::hypercall::vcpu_operation;
use pv_probe::time::{self, MILLISECOND, SLACK};

use super::{call, unusable, with_timer};
use crate::case::{Case, Row, Verdict};
use crate::rows::event_channel_op::needs_vcpu;
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "vcpu_op",
    "set_singleshot_timer",
    &[
        Case::good("once", "the timer's port is raised once, not before its time", once),
        Case::good("passed", "a time that has passed raises it before the call returns", passed),
        Case::good("future-passed", "so it does with VCPU_SSHOTTMR_future", future_passed),
        Case::good("future", "VCPU_SSHOTTMR_future and a time to come", future),
        Case::good("set-anew", "a time takes the place of the one before", set_anew),
        Case::refusal("other-vcpu", "another vcpu's", other_vcpu),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unusable(t, VCPUOP_SET_SINGLESHOT_TIMER);
            Ok(())
        }),
    ],
);

/// Sets the timer of a vcpu: the result.
pub fn set(vcpu: u32, timeout_abs_ns: u64, flags: u32) -> i64 {
    let mut request = VcpuSetSingleshotTimer { timeout_abs_ns, flags, pad: 0 };
    vcpu_operation(VCPUOP_SET_SINGLESHOT_TIMER, vcpu, &mut request)
}

/// A time to come: the port is raised then, and not again.
fn fires(t: &mut Trial, port: u32, flags: u32) {
    let end = time::now() + 3 * SLACK;
    t.succeeds("set", set(0, end, flags));
    t.holds("raised", events::wait_pending(port, 500));
    t.holds("not-before", time::now() + SLACK >= end);
    events::clear(port);
    time::wait(10 * MILLISECOND);
    t.holds("once", !events::is_pending(port));
}

fn once(t: &mut Trial) -> Verdict {
    with_timer(t, |t, port| fires(t, port, 0))
}

fn future(t: &mut Trial) -> Verdict {
    with_timer(t, |t, port| fires(t, port, VCPU_SSHOTTMR_FUTURE))
}

fn passed(t: &mut Trial) -> Verdict {
    with_timer(t, |t, port| {
        t.succeeds("set", set(0, time::now() - MILLISECOND, 0));
        t.holds("raised", events::is_pending(port));
        t.holds("upcall", events::is_upcall_pending(0));
    })
}

fn future_passed(t: &mut Trial) -> Verdict {
    with_timer(t, |t, port| {
        t.succeeds("set", set(0, time::now() - MILLISECOND, VCPU_SSHOTTMR_FUTURE));
        t.holds("raised", events::is_pending(port));
    })
}

fn set_anew(t: &mut Trial) -> Verdict {
    with_timer(t, |t, port| {
        let now = time::now();
        t.succeeds("late", set(0, now + 60_000 * MILLISECOND, 0));
        t.succeeds("early", set(0, now + 2 * MILLISECOND, 0));
        t.holds("raised", events::wait_pending(port, 500));
    })
}

fn other_vcpu(t: &mut Trial) -> Verdict {
    needs_vcpu(1)?;
    t.refused("set", Errno::EINVAL, || set(1, 1 << 60, 0));
    t.refused("unread", Errno::EINVAL, || call(VCPUOP_SET_SINGLESHOT_TIMER, 1, pointers::NOTHING));
    Ok(())
}
