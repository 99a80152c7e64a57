//! `EVTCHNOP_bind_pirq` (event_channel.h): a port for a device's interrupt.
//!
//! A domain without devices has numbers for them all the same, and is refused each (`EPERM`); a number that it has not is
//! `EINVAL`.

use paravane_abi::errno::Errno;
use paravane_abi::event::{BIND_PIRQ_WILL_SHARE, EVTCHNOP_BIND_PIRQ, EvtchnBindPirq};
use pv_probe::events::call;

use super::unreadable;
use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "event_channel_op",
    "bind_pirq",
    &[
        Case::refusal("not-allowed", "interrupts that the domain may not have", not_allowed),
        Case::refusal("past-last", "a number that the domain does not have", past_last),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, EVTCHNOP_BIND_PIRQ);
            Ok(())
        }),
    ],
);

fn bind(pirq: u32, flags: u32) -> i64 {
    call(EVTCHNOP_BIND_PIRQ, &mut EvtchnBindPirq { pirq, flags, port: 0 })
}

fn not_allowed(t: &mut Trial) -> Verdict {
    for (name, pirq, flags) in
        [("alone", 5, 0), ("shared", 10, BIND_PIRQ_WILL_SHARE), ("unknown-flag", 11, 8)]
    {
        t.refused(name, Errno::EPERM, || bind(pirq, flags));
    }
    Ok(())
}

fn past_last(t: &mut Trial) -> Verdict {
    for (name, pirq) in [("far", 1 << 20), ("all-ones", u32::MAX)] {
        t.refused(name, Errno::EINVAL, || bind(pirq, 0));
    }
    Ok(())
}
