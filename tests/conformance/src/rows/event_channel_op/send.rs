//! `EVTCHNOP_send` (event_channel.h): raises the other end of a connection, or an IPI's port itself.
//!
//! What is sent through a port that waits for its other end is dropped without an error.
//!
//! Refused: ports of interrupts, closed ones, and those that do not exist (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::event::{EVTCHNOP_SEND, VIRQ_DEBUG};
use paravane_abi::mmu::DOMID_SELF;
use pv_probe::events;

use super::{CLOSED, NO_PORTS, close_all, connected, got, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "event_channel_op",
    "send",
    &[
        Case::good("to-oneself", "a vcpu's port is raised: pending bit, selector, upcall", to_oneself),
        Case::good("to-the-other-end", "each end of a connection raises the other", other_end),
        Case::good("again", "what is pending already raises nothing more", again),
        Case::good("to-nobody", "what nobody is bound to is dropped", to_nobody),
        Case::good("high-port", "a port of the second word has its own selector bit", high_port),
        Case::refusal("not-sendable", "interrupts' ports, closed ones, port 0", not_sendable),
        Case::refusal("no-port", "ports that the domain does not have", no_port),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, EVTCHNOP_SEND);
            Ok(())
        }),
    ],
);

fn to_oneself(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    t.succeeds("send", events::send(port));
    t.holds("pending", events::is_pending(port));
    t.equal("selector", events::selector(0), 1);
    t.holds("upcall", events::is_upcall_pending(0));
    close_all(t, &[port]);
    Ok(())
}

fn other_end(t: &mut Trial) -> Verdict {
    let (first, second) = connected()?;
    t.succeeds("by-first", events::send(first));
    t.same("pending", [first, second].map(events::is_pending), [false, true]);
    events::clear(second);
    t.succeeds("by-second", events::send(second));
    t.same("pending-back", [first, second].map(events::is_pending), [true, false]);
    close_all(t, &[first, second]);
    Ok(())
}

fn again(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    t.succeeds("send", events::send(port));
    // As a kernel that has been told and not yet looked.
    events::acknowledge(0);
    t.succeeds("send-again", events::send(port));
    t.holds("pending", events::is_pending(port));
    t.equal("selector", events::selector(0), 0);
    t.holds("upcall", !events::is_upcall_pending(0));
    close_all(t, &[port]);
    Ok(())
}

fn to_nobody(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("a port for oneself", events::alloc_unbound(DOMID_SELF))?;
    let sent = t.unchanged("send", || events::send(port));
    t.succeeds("send", sent);
    t.holds("quiet", !events::is_pending(port) && !events::is_upcall_pending(0));
    close_all(t, &[port]);
    Ok(())
}

fn high_port(t: &mut Trial) -> Verdict {
    // Enough for the second group of 64.
    let mut ports = [0; 70];
    for port in &mut ports {
        *port = got("bind", events::bind_ipi(0))?;
    }
    events::settle();
    let last = ports[69];
    t.holds("beyond-64", (64..128).contains(&last));
    t.succeeds("send", events::send(last));
    t.holds("pending", events::is_pending(last));
    t.equal("selector", events::selector(0), 2);
    for &port in &ports {
        t.need("close", events::close(port))?;
    }
    events::settle();
    Ok(())
}

fn not_sendable(t: &mut Trial) -> Verdict {
    let virq = got("an interrupt's port", events::bind_virq(VIRQ_DEBUG, 0))?;
    for (name, port) in [("interrupts", virq), ("closed", CLOSED), ("nobodys", 0)] {
        t.refused(name, Errno::EINVAL, || events::send(port));
    }
    close_all(t, &[virq]);
    Ok(())
}

fn no_port(t: &mut Trial) -> Verdict {
    for (name, port) in NO_PORTS {
        t.refused(name, Errno::EINVAL, || events::send(port));
    }
    Ok(())
}
