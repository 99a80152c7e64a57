//! `EVTCHNOP_reset` (event_channel.h): closes all ports of the domain, and leaves the FIFO form (`fifo-events`). It may take
//! several steps, of which the caller sees nothing.
//!
//! Refused: a domain that there is not (`ESRCH`), another domain (`EPERM`, in `interdomain-events`).

use paravane_abi::errno::Errno;
use paravane_abi::event::{EVTCHNOP_RESET, EVTCHNSTAT_CLOSED, EVTCHNSTAT_UNBOUND, EvtchnReset, VIRQ_DEBUG};
use paravane_abi::mmu::DOMID_SELF;
use pv_probe::events::{self, call};

use super::{NOBODY, answer, got, status_of, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "event_channel_op",
    "reset",
    &[
        Case::good("closes-all", "ports of all kinds are closed, and interrupts to be had again", closes_all),
        Case::good("many", "as many ports as a domain may have", many),
        Case::good("forgets-pending", "what was pending is not", forgets),
        Case::refusal("no-domain", "a domain that there is not", no_domain),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, EVTCHNOP_RESET);
            Ok(())
        }),
    ],
);

fn closes_all(t: &mut Trial) -> Verdict {
    let ports = [
        got("one that waits", events::alloc_unbound(DOMID_SELF))?,
        got("an IPI", events::bind_ipi(0))?,
        got("an interrupt", events::bind_virq(VIRQ_DEBUG, 0))?,
    ];
    t.succeeds("reset", events::reset());
    for port in ports {
        t.equal("kind", status_of(port)?.status.into(), EVTCHNSTAT_CLOSED.into());
    }
    let again = events::bind_virq(VIRQ_DEBUG, 0);
    t.succeeds("interrupt-again", answer(again));
    super::close_all(t, &[got("an interrupt", again)?]);
    Ok(())
}

fn many(t: &mut Trial) -> Verdict {
    let mut last = 0;
    while let Ok(port) = events::alloc_unbound(NOBODY) {
        last = port;
    }
    t.equal("last", last.into(), 1023);
    t.equal("before", status_of(last)?.status.into(), EVTCHNSTAT_UNBOUND.into());
    t.succeeds("reset", events::reset());
    let left = (1..=last).filter(|port| events::status(*port).is_ok_and(|it| it.u[0] == u32::from(NOBODY)));
    t.equal("left", left.count() as u64, 0);
    Ok(())
}

fn forgets(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    t.succeeds("send", events::send(port));
    t.succeeds("reset", events::reset());
    t.holds("forgotten", !events::is_pending(port));
    events::settle();
    Ok(())
}

fn no_domain(t: &mut Trial) -> Verdict {
    t.refused("reset", Errno::ESRCH, || call(EVTCHNOP_RESET, &mut EvtchnReset { dom: NOBODY }));
    Ok(())
}
