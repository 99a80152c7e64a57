//! `EVTCHNOP_bind_ipi` (event_channel.h): a port by which vcpus of the domain notify one of theirs. What is sent through it
//! raises the port itself, on that vcpu for good.
//!
//! Refused: a vcpu that there is not (`ENOENT`).

use paravane_abi::errno::Errno;
use paravane_abi::event::{EVTCHNOP_BIND_IPI, EVTCHNSTAT_IPI};
use pv_probe::events;

use super::{NO_VCPU, answer, close_all, got, needs_vcpu, status_of, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "event_channel_op",
    "bind_ipi",
    &[
        Case::good("binds", "a port of vcpu 0", binds),
        Case::good("several", "a vcpu may have several, which are raised each by itself", several),
        Case::good("other-vcpu", "a port of vcpu 1, which is told and vcpu 0 is not", other_vcpu),
        Case::refusal("no-vcpu", "vcpus that there are not", no_vcpu),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, EVTCHNOP_BIND_IPI);
            Ok(())
        }),
    ],
);

fn binds(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    let status = status_of(port)?;
    t.equal("kind", status.status.into(), EVTCHNSTAT_IPI.into());
    t.equal("vcpu", status.vcpu.into(), 0);
    t.holds("quiet", !events::is_pending(port));
    close_all(t, &[port]);
    Ok(())
}

fn several(t: &mut Trial) -> Verdict {
    events::settle();
    let ports = [got("one", events::bind_ipi(0))?, got("two", events::bind_ipi(0))?];
    t.succeeds("send", events::send(ports[1]));
    t.same("pending", ports.map(events::is_pending), [false, true]);
    close_all(t, &ports);
    Ok(())
}

fn other_vcpu(t: &mut Trial) -> Verdict {
    needs_vcpu(1)?;
    events::settle();
    events::acknowledge(1);
    let port = got("bind", events::bind_ipi(1))?;
    t.equal("vcpu", status_of(port)?.vcpu.into(), 1);
    t.succeeds("send", events::send(port));
    t.same("upcall", [0, 1].map(events::is_upcall_pending), [false, true]);
    t.same("selector", [0, 1].map(events::selector), [0, 1]);
    events::acknowledge(1);
    close_all(t, &[port]);
    Ok(())
}

fn no_vcpu(t: &mut Trial) -> Verdict {
    for (name, vcpu) in [("far", NO_VCPU), ("all-ones", u32::MAX)] {
        t.refused(name, Errno::ENOENT, || answer(events::bind_ipi(vcpu)));
    }
    Ok(())
}
