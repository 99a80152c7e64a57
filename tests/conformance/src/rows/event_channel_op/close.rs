//! `EVTCHNOP_close` (event_channel.h): a port becomes free, whatever it was connected to.
//!
//! What was pending is forgotten, the mask bit stays as the guest has it. The other end of a connection waits again, for the
//! domain that closed.
//!
//! Refused: a port that does not exist, port 0, and one that is closed (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::event::{EVTCHNOP_CLOSE, EVTCHNSTAT_CLOSED, EVTCHNSTAT_UNBOUND};
use paravane_abi::mmu::DOMID_SELF;
use pv_probe::events;

use super::{CLOSED, NO_PORTS, answer, close_all, connected, got, own_number, status_of, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "event_channel_op",
    "close",
    &[
        Case::good("closes", "the port is closed, and the next to get a port gets it", closes),
        Case::good("forgets-pending", "whoever gets the port next gets its own events", forgets),
        Case::good("keeps-mask", "the mask bit is the guest's", keeps_mask),
        Case::good("other-end-waits", "the other end can be bound again", other_end),
        Case::refusal("twice", "a port that is closed", twice),
        Case::refusal("never-open", "port 0, and one that never was open", never_open),
        Case::refusal("no-port", "ports that the domain does not have", no_port),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, EVTCHNOP_CLOSE);
            Ok(())
        }),
    ],
);

fn closes(t: &mut Trial) -> Verdict {
    let port = got("bind", events::bind_ipi(0))?;
    t.succeeds("close", events::close(port));
    t.equal("kind", status_of(port)?.status.into(), EVTCHNSTAT_CLOSED.into());
    let next = got("the next", events::alloc_unbound(DOMID_SELF))?;
    t.holds("lowest-again", next == port);
    close_all(t, &[next]);
    Ok(())
}

fn forgets(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    t.succeeds("send", events::send(port));
    t.holds("pending", events::is_pending(port));
    t.succeeds("close", events::close(port));
    t.holds("forgotten", !events::is_pending(port));
    events::acknowledge(0);
    let next = got("the next", events::bind_ipi(0))?;
    t.holds("same", next == port);
    t.succeeds("first-event", events::send(next));
    t.holds("upcall", events::is_upcall_pending(0));
    close_all(t, &[next]);
    Ok(())
}

fn keeps_mask(t: &mut Trial) -> Verdict {
    let port = got("bind", events::bind_ipi(0))?;
    events::set_mask(port, true);
    t.succeeds("close", events::close(port));
    t.holds("masked", events::is_masked(port));
    events::set_mask(port, false);
    Ok(())
}

fn other_end(t: &mut Trial) -> Verdict {
    let own = own_number()?;
    let (first, second) = connected()?;
    t.succeeds("close", events::close(second));
    let status = status_of(first)?;
    t.equal("kind", status.status.into(), EVTCHNSTAT_UNBOUND.into());
    t.holds("waits-for", status.u[0] == u32::from(own));
    let again = events::bind_interdomain(DOMID_SELF, first);
    t.succeeds("bind-again", answer(again));
    close_all(t, &[first, got("bind", again)?]);
    Ok(())
}

fn twice(t: &mut Trial) -> Verdict {
    let port = got("bind", events::bind_ipi(0))?;
    close_all(t, &[port]);
    t.refused("again", Errno::EINVAL, || events::close(port));
    Ok(())
}

fn never_open(t: &mut Trial) -> Verdict {
    for (name, port) in [("nobodys", 0), ("closed", CLOSED)] {
        t.refused(name, Errno::EINVAL, || events::close(port));
    }
    Ok(())
}

fn no_port(t: &mut Trial) -> Verdict {
    for (name, port) in NO_PORTS {
        t.refused(name, Errno::EINVAL, || events::close(port));
    }
    Ok(())
}
