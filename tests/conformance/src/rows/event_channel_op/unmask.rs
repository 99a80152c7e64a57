//! `EVTCHNOP_unmask` (event_channel.h): clears a port's mask bit and, if the port is pending, tells its vcpu, as sending would
//! have. Of a port that is closed nothing is changed, without an error.
//!
//! Refused: a port that the domain does not have (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::event::EVTCHNOP_UNMASK;
use pv_probe::events;

use super::{CLOSED, NO_PORTS, close_all, got, needs_vcpu, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "event_channel_op",
    "unmask",
    &[
        Case::good("pending", "an event that the mask held back goes on its way", pending),
        Case::good("quiet", "without an event the mask bit alone is cleared", quiet),
        Case::good("not-masked", "a pending port that is not masked raises nothing more", not_masked),
        Case::good("other-vcpu", "the port's vcpu is told, not the caller's", other_vcpu),
        Case::good("closed", "of a closed port the mask bit stays", closed),
        Case::refusal("no-port", "ports that the domain does not have", no_port),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, EVTCHNOP_UNMASK);
            Ok(())
        }),
    ],
);

fn pending(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    events::set_mask(port, true);
    t.succeeds("send", events::send(port));
    t.holds("held-back", events::is_pending(port) && !events::is_upcall_pending(0));
    t.succeeds("unmask", events::unmask(port));
    t.holds("unmasked", !events::is_masked(port));
    t.holds("still-pending", events::is_pending(port));
    t.holds("upcall", events::is_upcall_pending(0));
    t.equal("selector", events::selector(0), 1);
    close_all(t, &[port]);
    Ok(())
}

fn quiet(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    events::set_mask(port, true);
    t.succeeds("unmask", events::unmask(port));
    t.holds("unmasked", !events::is_masked(port));
    t.holds("upcall", !events::is_upcall_pending(0));
    close_all(t, &[port]);
    Ok(())
}

fn not_masked(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    t.succeeds("send", events::send(port));
    events::acknowledge(0);
    t.succeeds("unmask", events::unmask(port));
    t.holds("upcall", !events::is_upcall_pending(0));
    close_all(t, &[port]);
    Ok(())
}

fn other_vcpu(t: &mut Trial) -> Verdict {
    needs_vcpu(1)?;
    events::settle();
    events::acknowledge(1);
    let port = got("bind", events::bind_ipi(1))?;
    events::set_mask(port, true);
    t.succeeds("send", events::send(port));
    t.succeeds("unmask", events::unmask(port));
    t.same("upcall", [0, 1].map(events::is_upcall_pending), [false, true]);
    events::acknowledge(1);
    close_all(t, &[port]);
    Ok(())
}

fn closed(t: &mut Trial) -> Verdict {
    events::set_mask(CLOSED, true);
    let result = t.unchanged("unmask", || events::unmask(CLOSED));
    t.succeeds("unmask", result);
    t.holds("still-masked", events::is_masked(CLOSED));
    events::set_mask(CLOSED, false);
    Ok(())
}

fn no_port(t: &mut Trial) -> Verdict {
    for (name, port) in NO_PORTS {
        t.refused(name, Errno::EINVAL, || events::unmask(port));
    }
    Ok(())
}
