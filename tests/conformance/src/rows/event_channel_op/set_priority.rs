//! `EVTCHNOP_set_priority` (event_channel.h): the queue of a port's events to come, 0 (the first to be taken) to 15, in the FIFO
//! form (`fifo-events`).
//!
//! Refused: in the 2-level form (`ENOSYS`), whatever the port; a port that the domain does not have, and a priority above 15
//! (`EINVAL`); a closed port (`EACCES`).

use paravane_abi::errno::Errno;
use paravane_abi::event::{
    EVTCHN_FIFO_PRIORITY_MIN, EVTCHNOP_INIT_CONTROL, EVTCHNOP_SET_PRIORITY, EvtchnInitControl,
    EvtchnSetPriority,
};
use pv_probe::events::{self, call};
use pv_probe::memory::{mfn, take};

use super::{CLOSED, NO_PORTS, close_all, got, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "event_channel_op",
    "set_priority",
    &[
        Case::good("all", "every priority there is", all),
        Case::refusal("too-low", "a priority below the lowest", too_low),
        Case::refusal("two-levels", "the 2-level form has none", two_levels),
        Case::refusal("closed", "a port that is closed", closed),
        Case::refusal("no-port", "ports that the domain does not have", no_port),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, EVTCHNOP_SET_PRIORITY);
            Ok(())
        }),
    ],
);

fn set(port: u32, priority: u32) -> i64 {
    call(EVTCHNOP_SET_PRIORITY, &mut EvtchnSetPriority { port, priority })
}

fn init(t: &mut Trial) -> Verdict {
    let mut request = EvtchnInitControl { control_gfn: mfn(take()), ..Default::default() };
    t.need("init", call(EVTCHNOP_INIT_CONTROL, &mut request))
}

fn all(t: &mut Trial) -> Verdict {
    init(t)?;
    let port = got("bind", events::bind_ipi(0))?;
    let taken = (0..=EVTCHN_FIFO_PRIORITY_MIN).filter(|priority| set(port, *priority) == 0).count();
    t.equal("taken", taken as u64, 16);
    t.need("reset", events::reset())
}

fn too_low(t: &mut Trial) -> Verdict {
    init(t)?;
    let port = got("bind", events::bind_ipi(0))?;
    t.fails("next", set(port, EVTCHN_FIFO_PRIORITY_MIN + 1), Errno::EINVAL);
    t.fails("all-ones", set(port, u32::MAX), Errno::EINVAL);
    t.need("reset", events::reset())
}

fn two_levels(t: &mut Trial) -> Verdict {
    let port = got("bind", events::bind_ipi(0))?;
    t.refused("open", Errno::ENOSYS, || set(port, 7));
    t.refused("closed", Errno::ENOSYS, || set(CLOSED, 7));
    t.refused("priority", Errno::ENOSYS, || set(port, 99));
    close_all(t, &[port]);
    Ok(())
}

fn closed(t: &mut Trial) -> Verdict {
    init(t)?;
    t.fails("set", set(CLOSED, 7), Errno::EACCES);
    t.need("reset", events::reset())
}

fn no_port(t: &mut Trial) -> Verdict {
    for (name, port) in NO_PORTS {
        t.refused(name, Errno::EINVAL, || set(port, 7));
    }
    Ok(())
}
