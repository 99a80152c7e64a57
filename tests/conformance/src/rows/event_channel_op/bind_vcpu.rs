//! `EVTCHNOP_bind_vcpu` (event_channel.h): the vcpu that a port notifies from now on; a new port notifies vcpu 0. What is
//! pending stays where it is.
//!
//! Refused: a vcpu that there is not (`ENOENT`, before anything else); a port that the domain does not have or that is closed, a
//! vcpu's own interrupt and an IPI (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::event::{EVTCHNOP_BIND_VCPU, EvtchnBindVcpu, VIRQ_DOM_EXC, VIRQ_TIMER};
use paravane_abi::mmu::DOMID_SELF;
use pv_probe::events::{self, call};

use super::{CLOSED, NO_PORTS, NO_VCPU, close_all, connected, got, needs_vcpu, status_of, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "event_channel_op",
    "bind_vcpu",
    &[
        Case::good("moves", "events go to the other vcpu", moves),
        Case::good("waiting", "a port that waits can be moved, and back", waiting),
        Case::good("global-interrupt", "a global interrupt can be moved once it is bound", global),
        Case::refusal("vcpus-own", "an IPI and a vcpu's timer", vcpus_own),
        Case::refusal("no-vcpu", "vcpus that there are not, whatever the port", no_vcpu),
        Case::refusal("no-port", "ports that are closed or do not exist", no_port),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, EVTCHNOP_BIND_VCPU);
            Ok(())
        }),
    ],
);

fn bind(port: u32, vcpu: u32) -> i64 {
    call(EVTCHNOP_BIND_VCPU, &mut EvtchnBindVcpu { port, vcpu })
}

fn moves(t: &mut Trial) -> Verdict {
    needs_vcpu(1)?;
    let (first, second) = connected()?;
    events::set_mask(second, false);
    events::acknowledge(1);
    t.succeeds("bind", bind(second, 1));
    t.equal("vcpu", status_of(second)?.vcpu.into(), 1);
    t.equal("other-end", status_of(first)?.vcpu.into(), 0);
    t.succeeds("send", events::send(first));
    t.same("upcall", [0, 1].map(events::is_upcall_pending), [false, true]);
    t.same("selector", [0, 1].map(events::selector), [0, 1]);
    events::acknowledge(1);
    close_all(t, &[first, second]);
    Ok(())
}

fn waiting(t: &mut Trial) -> Verdict {
    needs_vcpu(1)?;
    let port = got("alloc", events::alloc_unbound(DOMID_SELF))?;
    for vcpu in [1, 0] {
        t.succeeds("bind", bind(port, vcpu));
        t.equal("vcpu", status_of(port)?.vcpu.into(), vcpu.into());
    }
    close_all(t, &[port]);
    Ok(())
}

fn global(t: &mut Trial) -> Verdict {
    needs_vcpu(1)?;
    let port = got("bind", events::bind_virq(VIRQ_DOM_EXC, 0))?;
    t.succeeds("move", bind(port, 1));
    t.equal("vcpu", status_of(port)?.vcpu.into(), 1);
    // It is still the domain's one, under vcpu 0.
    t.fails("bound", super::answer(events::bind_virq(VIRQ_DOM_EXC, 0)), Errno::EEXIST);
    close_all(t, &[port]);
    let again = events::bind_virq(VIRQ_DOM_EXC, 0);
    t.succeeds("again", super::answer(again));
    close_all(t, &[got("bind", again)?]);
    Ok(())
}

fn vcpus_own(t: &mut Trial) -> Verdict {
    let ipi = got("an IPI", events::bind_ipi(0))?;
    let timer = got("a timer", events::bind_virq(VIRQ_TIMER, 0))?;
    for (name, port) in [("ipi", ipi), ("timer", timer)] {
        t.refused(name, Errno::EINVAL, || bind(port, 0));
    }
    close_all(t, &[ipi, timer]);
    Ok(())
}

fn no_vcpu(t: &mut Trial) -> Verdict {
    let port = got("alloc", events::alloc_unbound(DOMID_SELF))?;
    t.refused("far", Errno::ENOENT, || bind(port, NO_VCPU));
    t.refused("all-ones", Errno::ENOENT, || bind(port, u32::MAX));
    t.refused("nor-port", Errno::ENOENT, || bind(u32::MAX, NO_VCPU));
    close_all(t, &[port]);
    Ok(())
}

fn no_port(t: &mut Trial) -> Verdict {
    for (name, port) in [("nobodys", 0), ("closed", CLOSED)].into_iter().chain(NO_PORTS) {
        t.refused(name, Errno::EINVAL, || bind(port, 0));
    }
    Ok(())
}
