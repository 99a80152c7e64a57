//! Event channels between two domains (xen/include/public/event_channel.h): the left makes a port that waits for the right, which binds
//! to it; from then on each end raises the other.

use paravane_abi::errno::Errno;
use paravane_abi::event::{
    EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_RESET, EVTCHNOP_STATUS, EVTCHNSTAT_INTERDOMAIN, EVTCHNSTAT_UNBOUND,
    EvtchnAllocUnbound, EvtchnReset, EvtchnStatus,
};
use paravane_abi::hypercall::HYPERVISOR_SCHED_OP;
use paravane_abi::mmu::DOMID_SELF;
use paravane_abi::sched::{SCHEDOP_POLL, SchedPoll};
use pv_probe::events;
use pv_probe::hypercall::operation;
use pv_probe::time::{self, MILLISECOND};

use crate::case::{Case, Role, Row, Stop, Verdict};
use crate::pair::{meet, peer, receive, send};
use crate::rows::event_channel_op::{NOBODY, answer, close_all, got, status_of};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "interdomain-events",
    &[
        Case::good("connect", "each end names the other domain and its port", connect).role(Role::Pair),
        Case::good("send", "each end raises the other", both_ways).role(Role::Pair),
        Case::good("new-end-pending", "the end that was bound is pending at once, the other is not", pending)
            .role(Role::Pair),
        Case::good("masked", "what a masked port gets waits for its unmasking", masked).role(Role::Pair),
        Case::good("poll", "a poll ends by what the other domain sends", poll).role(Role::Pair),
        Case::good("close-new-end", "the end that waited waits again", close_new).role(Role::Pair),
        Case::good("close-old-end", "the end that was bound waits for the domain that closed", close_old)
            .role(Role::Pair),
        Case::good("bind-again", "an end that waits again can be bound again", again).role(Role::Pair),
        Case::good("reset", "closing all ports has the other ends wait", reset).role(Role::Pair),
        Case::good("send-to-closed", "what is sent to a closed end is dropped", to_closed).role(Role::Pair),
        Case::refusal("for-another", "ports that wait for somebody else", for_another).role(Role::Pair),
        Case::refusal("taken", "a port that is connected already", taken).role(Role::Pair),
        Case::refusal(
            "others-ports",
            "another domain's ports are not to be made, asked for or closed",
            others,
        )
        .role(Role::Pair),
    ],
);

/// A connection, both ends masked and nothing pending: this side's port and the other's.
fn connected(t: &mut Trial) -> Result<(u32, u32), Stop> {
    let side = t.side();
    let (own, other);
    if side.is_left() {
        own = got("a port for the right", events::alloc_unbound(peer()))?;
        send(side, own.into())?;
        other = receive(side)? as u32;
    } else {
        other = receive(side)? as u32;
        own = got("a port bound to it", events::bind_interdomain(peer(), other))?;
        send(side, own.into())?;
    }
    events::settle();
    events::set_mask(own, true);
    meet(side)?;
    Ok((own, other))
}

/// Closes this side's port when both are ready.
fn done(t: &mut Trial, port: u32) -> Verdict {
    meet(t.side())?;
    close_all(t, &[port]);
    Ok(())
}

fn connect(t: &mut Trial) -> Verdict {
    let (own, other) = connected(t)?;
    let status = status_of(own)?;
    t.equal("kind", status.status.into(), EVTCHNSTAT_INTERDOMAIN.into());
    t.holds("domain", status.u[0] == u32::from(peer()));
    t.holds("port", status.u[1] == other);
    t.equal("vcpu", status.vcpu.into(), 0);
    done(t, own)
}

fn both_ways(t: &mut Trial) -> Verdict {
    let (own, _) = connected(t)?;
    for left_sends in [true, false] {
        if t.side().is_left() == left_sends {
            t.succeeds("send", events::send(own));
            t.holds("own-quiet", !events::is_pending(own));
        } else {
            t.holds("raised", events::wait_pending(own, 5000));
            events::clear(own);
        }
        meet(t.side())?;
    }
    done(t, own)
}

fn pending(t: &mut Trial) -> Verdict {
    let side = t.side();
    events::settle();
    if side.is_left() {
        let own = got("a port for the right", events::alloc_unbound(peer()))?;
        send(side, own.into())?;
        receive(side)?;
        t.holds("old-is-not", !events::is_pending(own));
        return done(t, own);
    }
    let other = receive(side)? as u32;
    let own = got("a port bound to it", events::bind_interdomain(peer(), other))?;
    t.holds("new-is", events::is_pending(own));
    send(side, 0)?;
    done(t, own)
}

fn masked(t: &mut Trial) -> Verdict {
    let (own, _) = connected(t)?;
    if t.side().is_left() {
        t.succeeds("send", events::send(own));
    } else {
        t.holds("raised", events::wait_pending(own, 5000));
        t.holds("upcall", !events::is_upcall_pending(0));
        t.succeeds("unmask", events::unmask(own));
        t.holds("upcall-then", events::is_upcall_pending(0));
    }
    done(t, own)
}

fn poll(t: &mut Trial) -> Verdict {
    let (own, _) = connected(t)?;
    if t.side().is_left() {
        time::wait(5 * MILLISECOND);
        t.succeeds("send", events::send(own));
    } else {
        let end = time::now() + 20_000 * MILLISECOND;
        let mut request =
            SchedPoll { ports: &raw const own as u64, nr_ports: 1, timeout: end, ..Default::default() };
        t.succeeds("poll", operation(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, &mut request));
        t.holds("raised", events::is_pending(own));
        t.holds("in-time", time::now() < end);
    }
    done(t, own)
}

/// The right closes its end or the left, and the other waits.
fn close(t: &mut Trial, left_closes: bool) -> Verdict {
    let (own, _) = connected(t)?;
    if t.side().is_left() == left_closes {
        t.succeeds("close", events::close(own));
        events::set_mask(own, false);
        return meet(t.side());
    }
    meet(t.side())?;
    let status = status_of(own)?;
    t.equal("kind", status.status.into(), EVTCHNSTAT_UNBOUND.into());
    t.holds("waits-for", status.u[0] == u32::from(peer()));
    close_all(t, &[own]);
    Ok(())
}

fn close_new(t: &mut Trial) -> Verdict {
    close(t, false)
}

fn close_old(t: &mut Trial) -> Verdict {
    close(t, true)
}

fn again(t: &mut Trial) -> Verdict {
    let (own, other) = connected(t)?;
    let side = t.side();
    if side.is_left() {
        receive(side)?;
        t.equal("kind", status_of(own)?.status.into(), EVTCHNSTAT_INTERDOMAIN.into());
        t.succeeds("send", events::send(own));
        return done(t, own);
    }
    t.succeeds("close", events::close(own));
    let new = events::bind_interdomain(peer(), other);
    t.succeeds("bind", answer(new));
    let new = got("bind", new)?;
    events::clear(new);
    send(side, 0)?;
    t.holds("raised", events::wait_pending(new, 5000));
    done(t, new)
}

fn reset(t: &mut Trial) -> Verdict {
    let (own, _) = connected(t)?;
    if !t.side().is_left() {
        t.succeeds("reset", events::reset());
        events::set_mask(own, false);
        return meet(t.side());
    }
    meet(t.side())?;
    t.equal("kind", status_of(own)?.status.into(), EVTCHNSTAT_UNBOUND.into());
    close_all(t, &[own]);
    Ok(())
}

fn to_closed(t: &mut Trial) -> Verdict {
    let (own, _) = connected(t)?;
    if !t.side().is_left() {
        t.succeeds("close", events::close(own));
        events::set_mask(own, false);
        meet(t.side())?;
        meet(t.side())?;
        t.holds("quiet", !events::is_pending(own));
        return Ok(());
    }
    meet(t.side())?;
    t.succeeds("send", events::send(own));
    meet(t.side())?;
    close_all(t, &[own]);
    Ok(())
}

fn for_another(t: &mut Trial) -> Verdict {
    let side = t.side();
    if side.is_left() {
        let ports = [NOBODY, DOMID_SELF].map(events::alloc_unbound);
        for port in ports {
            send(side, got("a port for another", port)?.into())?;
        }
        meet(side)?;
        for port in ports {
            close_all(t, &[got("a port for another", port)?]);
        }
        return Ok(());
    }
    for name in ["nobody", "left"] {
        let port = receive(side)? as u32;
        t.refused(name, Errno::EINVAL, || answer(events::bind_interdomain(peer(), port)));
    }
    meet(side)
}

fn taken(t: &mut Trial) -> Verdict {
    let (own, other) = connected(t)?;
    // Neither end waits any more.
    t.refused("bind", Errno::EINVAL, || answer(events::bind_interdomain(peer(), other)));
    done(t, own)
}

fn others(t: &mut Trial) -> Verdict {
    let dom = peer();
    let mut make = EvtchnAllocUnbound { dom, remote_dom: DOMID_SELF, port: 0 };
    t.refused("make", Errno::EPERM, || events::call(EVTCHNOP_ALLOC_UNBOUND, &mut make));
    let mut ask = EvtchnStatus { dom, port: 1, ..Default::default() };
    t.refused("ask", Errno::EPERM, || events::call(EVTCHNOP_STATUS, &mut ask));
    t.refused("close", Errno::EPERM, || events::call(EVTCHNOP_RESET, &mut EvtchnReset { dom }));
    meet(t.side())
}
