//! `EVTCHNOP_alloc_unbound` (event_channel.h): a port that waits for a domain to bind to it.
//!
//! The lowest free number is given. Whether the domain that it waits for exists does not matter.
//!
//! Refused: a domain for the port that there is not (`ESRCH`) or that is not the caller's (`EPERM`, in `interdomain-events`); when
//! all ports are taken (`ENOSPC`).

use paravane_abi::errno::Errno;
use paravane_abi::event::{EVTCHNOP_ALLOC_UNBOUND, EVTCHNSTAT_UNBOUND, EvtchnAllocUnbound};
use paravane_abi::mmu::DOMID_SELF;
use pv_probe::events::{self, call};

use super::{NOBODY, answer, close_all, got, own_number, status_of, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "event_channel_op",
    "alloc_unbound",
    &[
        Case::good("waits", "a port that waits for this domain, which is named by its number", waits),
        Case::good("by-number", "oneself by number", by_number),
        Case::good("lowest", "ports are given from the lowest up", lowest),
        Case::good("for-nobody", "the domain that is waited for need not exist", for_nobody),
        Case::refusal("full", "all ports are taken", full),
        Case::refusal("no-domain", "a port for a domain that there is not", no_domain),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, EVTCHNOP_ALLOC_UNBOUND);
            Ok(())
        }),
    ],
);

fn waits(t: &mut Trial) -> Verdict {
    let port = got("alloc", events::alloc_unbound(DOMID_SELF))?;
    let status = status_of(port)?;
    t.equal("kind", status.status.into(), EVTCHNSTAT_UNBOUND.into());
    t.holds("not-by-alias", status.u[0] != u32::from(DOMID_SELF));
    t.holds("quiet", !events::is_pending(port));
    close_all(t, &[port]);
    Ok(())
}

fn by_number(t: &mut Trial) -> Verdict {
    let dom = own_number()?;
    let mut request = EvtchnAllocUnbound { dom, remote_dom: dom, port: 0 };
    t.succeeds("alloc", call(EVTCHNOP_ALLOC_UNBOUND, &mut request));
    close_all(t, &[request.port]);
    Ok(())
}

fn lowest(t: &mut Trial) -> Verdict {
    let mut ports = [0; 3];
    for port in &mut ports {
        *port = got("alloc", events::alloc_unbound(DOMID_SELF))?;
    }
    t.holds("in-a-row", ports[1] == ports[0] + 1 && ports[2] == ports[1] + 1);
    t.succeeds("close", events::close(ports[1]));
    let again = got("alloc", events::alloc_unbound(DOMID_SELF))?;
    t.holds("the-gap", again == ports[1]);
    close_all(t, &ports);
    Ok(())
}

fn for_nobody(t: &mut Trial) -> Verdict {
    let port = events::alloc_unbound(NOBODY);
    t.succeeds("alloc", answer(port));
    close_all(t, &[got("alloc", port)?]);
    Ok(())
}

fn full(t: &mut Trial) -> Verdict {
    let mut last = 0;
    let refusal = loop {
        match events::alloc_unbound(NOBODY) {
            Ok(port) => last = port,
            Err(error) => break error,
        }
    };
    t.fails("one-more", refusal, Errno::ENOSPC);
    t.refused("and-again", Errno::ENOSPC, || answer(events::alloc_unbound(NOBODY)));
    t.refused("an-ipi", Errno::ENOSPC, || answer(events::bind_ipi(0)));
    t.equal("last", last.into(), 1023);
    for port in 1..=last {
        if events::status(port).is_ok_and(|status| status.u[0] == u32::from(NOBODY)) {
            t.need("close", events::close(port))?;
        }
    }
    Ok(())
}

fn no_domain(t: &mut Trial) -> Verdict {
    let mut request = EvtchnAllocUnbound { dom: NOBODY, remote_dom: DOMID_SELF, port: 0 };
    t.refused("alloc", Errno::ESRCH, || call(EVTCHNOP_ALLOC_UNBOUND, &mut request));
    Ok(())
}
