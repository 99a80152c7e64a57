//! `EVTCHNOP_status` (event_channel.h): what a port of one's own is connected to, and the vcpu it notifies.
//!
//! A port within the groups that there are is `EVTCHNSTAT_closed` when nobody has it, port 0 too.
//!
//! Refused: a domain that there is not (`ESRCH`), a port that the domain does not have (`EINVAL`), another domain's (`EPERM`, in
//! `interdomain-events`).

use paravane_abi::errno::Errno;
use paravane_abi::event::{
    EVTCHNOP_STATUS, EVTCHNSTAT_CLOSED, EVTCHNSTAT_UNBOUND, EVTCHNSTAT_VIRQ, EvtchnStatus, VIRQ_DEBUG,
};
use paravane_abi::mmu::DOMID_SELF;
use pv_probe::events::{self, call};

use super::{CLOSED, NO_PORTS, NOBODY, close_all, got, own_number, status_of, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "event_channel_op",
    "status",
    &[
        Case::good("closed", "ports that nobody has", closed),
        Case::good("unbound", "a port that waits, and for whom", unbound),
        Case::good("interrupt", "an interrupt's port, and which", interrupt),
        Case::good("by-number", "oneself by number", by_number),
        Case::refusal("no-port", "ports that the domain does not have", no_port),
        Case::refusal("no-domain", "a domain that there is not", no_domain),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, EVTCHNOP_STATUS);
            Ok(())
        }),
    ],
);

fn closed(t: &mut Trial) -> Verdict {
    for (name, port) in [("nobodys", 0), ("never-open", CLOSED)] {
        t.equal(name, status_of(port)?.status.into(), EVTCHNSTAT_CLOSED.into());
    }
    Ok(())
}

fn unbound(t: &mut Trial) -> Verdict {
    let port = got("a port for nobody", events::alloc_unbound(NOBODY))?;
    let status = status_of(port)?;
    t.equal("kind", status.status.into(), EVTCHNSTAT_UNBOUND.into());
    t.equal("waits-for", status.u[0].into(), NOBODY.into());
    t.equal("vcpu", status.vcpu.into(), 0);
    close_all(t, &[port]);
    Ok(())
}

fn interrupt(t: &mut Trial) -> Verdict {
    let port = got("bind", events::bind_virq(VIRQ_DEBUG, 0))?;
    let status = status_of(port)?;
    t.same("kind-and-number", (status.status, status.u[0]), (EVTCHNSTAT_VIRQ, VIRQ_DEBUG));
    close_all(t, &[port]);
    Ok(())
}

fn by_number(t: &mut Trial) -> Verdict {
    let dom = own_number()?;
    let mut request = EvtchnStatus { dom, port: CLOSED, status: 77, ..Default::default() };
    t.succeeds("status", call(EVTCHNOP_STATUS, &mut request));
    t.equal("kind", request.status.into(), EVTCHNSTAT_CLOSED.into());
    Ok(())
}

fn ask(dom: u16, port: u32) -> i64 {
    call(EVTCHNOP_STATUS, &mut EvtchnStatus { dom, port, ..Default::default() })
}

fn no_port(t: &mut Trial) -> Verdict {
    for (name, port) in NO_PORTS {
        t.refused(name, Errno::EINVAL, || ask(DOMID_SELF, port));
    }
    Ok(())
}

fn no_domain(t: &mut Trial) -> Verdict {
    t.refused("status", Errno::ESRCH, || ask(NOBODY, 1));
    Ok(())
}
