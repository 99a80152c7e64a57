//! `EVTCHNOP_bind_interdomain` (event_channel.h): connects a new port with one that waits, of another domain or of one's own.
//!
//! The waiting port must be unbound and wait for the caller. From then on a send through either raises the other. Something
//! may have been sent before anybody listened, so the new port is pending at once. Connections of two domains are in
//! `interdomain-events`.
//!
//! Refused: a domain that there is not (`ESRCH`); a port that does not exist, does not wait, or waits for somebody else
//! (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::event::{EVTCHNOP_BIND_INTERDOMAIN, EVTCHNSTAT_INTERDOMAIN};
use paravane_abi::mmu::DOMID_SELF;
use pv_probe::events;

use super::{CLOSED, NO_PORTS, NOBODY, answer, close_all, connected, got, own_number, status_of, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "event_channel_op",
    "bind_interdomain",
    &[
        Case::good("connects", "both ends name each other", connects),
        Case::good("pending-at-once", "the new port is pending, the old one is not", pending),
        Case::good("by-number", "oneself by number", by_number),
        Case::refusal("no-domain", "a domain that there is not", no_domain),
        Case::refusal("no-port", "ports that the domain does not have", no_port),
        Case::refusal("not-waiting", "ports that are closed, or for something else", not_waiting),
        Case::refusal("for-another", "a port that waits for another domain", for_another),
        Case::refusal("taken", "a port that is connected already", taken),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, EVTCHNOP_BIND_INTERDOMAIN);
            Ok(())
        }),
    ],
);

fn connects(t: &mut Trial) -> Verdict {
    let own = own_number()?;
    let (first, second) = connected()?;
    for (name, port, other) in [("first", first, second), ("second", second, first)] {
        let status = status_of(port)?;
        t.equal(format_args!("{name}.kind"), status.status.into(), EVTCHNSTAT_INTERDOMAIN.into());
        t.holds(format_args!("{name}.domain"), status.u[0] == u32::from(own));
        t.holds(format_args!("{name}.port"), status.u[1] == other);
        t.equal(format_args!("{name}.vcpu"), status.vcpu.into(), 0);
    }
    close_all(t, &[first, second]);
    Ok(())
}

fn pending(t: &mut Trial) -> Verdict {
    events::settle();
    let first = got("a port for oneself", events::alloc_unbound(DOMID_SELF))?;
    let second = got("a port bound to it", events::bind_interdomain(DOMID_SELF, first))?;
    t.holds("old-is-not", !events::is_pending(first));
    t.holds("new-is", events::is_pending(second));
    t.holds("upcall", events::is_upcall_pending(0));
    t.equal("selector", events::selector(0), 1);
    close_all(t, &[first, second]);
    Ok(())
}

fn by_number(t: &mut Trial) -> Verdict {
    let own = own_number()?;
    let first = got("a port for oneself", events::alloc_unbound(own))?;
    let second = events::bind_interdomain(own, first);
    t.succeeds("bind", answer(second));
    close_all(t, &[first, got("bind", second)?]);
    Ok(())
}

fn no_domain(t: &mut Trial) -> Verdict {
    let port = got("a port for oneself", events::alloc_unbound(DOMID_SELF))?;
    t.refused("bind", Errno::ESRCH, || answer(events::bind_interdomain(NOBODY, port)));
    close_all(t, &[port]);
    Ok(())
}

fn no_port(t: &mut Trial) -> Verdict {
    for (name, port) in NO_PORTS {
        t.refused(name, Errno::EINVAL, || answer(events::bind_interdomain(DOMID_SELF, port)));
    }
    Ok(())
}

fn not_waiting(t: &mut Trial) -> Verdict {
    let ipi = got("a port of vcpu 0", events::bind_ipi(0))?;
    for (name, port) in [("nobodys", 0), ("closed", CLOSED), ("vcpus", ipi)] {
        t.refused(name, Errno::EINVAL, || answer(events::bind_interdomain(DOMID_SELF, port)));
    }
    close_all(t, &[ipi]);
    Ok(())
}

fn for_another(t: &mut Trial) -> Verdict {
    let port = got("a port for nobody", events::alloc_unbound(NOBODY))?;
    t.refused("bind", Errno::EINVAL, || answer(events::bind_interdomain(DOMID_SELF, port)));
    close_all(t, &[port]);
    Ok(())
}

fn taken(t: &mut Trial) -> Verdict {
    let (first, second) = connected()?;
    for (name, port) in [("first", first), ("second", second)] {
        t.refused(name, Errno::EINVAL, || answer(events::bind_interdomain(DOMID_SELF, port)));
    }
    close_all(t, &[first, second]);
    Ok(())
}
