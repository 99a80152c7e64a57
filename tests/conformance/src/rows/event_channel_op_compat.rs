//! `event_channel_op_compat(uop)`, call 16 (event_channel.h, `struct evtchn_op`): `event_channel_op` as it was before interface version
//! 0x30202, number and argument in one struct, the argument at offset 4.
//!
//! It knows the operations that there were then, up to `EVTCHNOP_unmask`.
//!
//! Refused: a struct that cannot be read (`EFAULT`), later operations (`ENOSYS`), and what the operation itself refuses.

use paravane_abi::errno::Errno;
use paravane_abi::event::{
    EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_CLOSE, EVTCHNOP_RESET, EVTCHNOP_STATUS, EVTCHNSTAT_CLOSED,
    EVTCHNSTAT_IPI, EvtchnOp,
};
use paravane_abi::hypercall::HYPERVISOR_EVENT_CHANNEL_OP_COMPAT;
use paravane_abi::mmu::DOMID_SELF;
use pv_probe::events;
use pv_probe::hypercall::raw;

use crate::case::{Case, Row, Verdict};
use crate::rows::event_channel_op::{close_all, got, status_of};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "event_channel_op_compat",
    &[
        Case::good("makes", "a port by the older form", makes),
        Case::good("tells", "what a port is connected to by the older form", tells),
        Case::good("closes", "a port by the older form", closes),
        Case::refusal("later", "operations that came later, and unknown ones", later),
        Case::refusal("passes-on", "what the newer form refuses", passes_on),
        Case::refusal("pointers", "structs that cannot be read", unreadable),
    ],
);

fn older(request: &mut EvtchnOp) -> i64 {
    raw(HYPERVISOR_EVENT_CHANNEL_OP_COMPAT, [&raw mut *request as u64, 0, 0, 0, 0])
}

fn makes(t: &mut Trial) -> Verdict {
    let both = u32::from(DOMID_SELF) << 16 | u32::from(DOMID_SELF);
    let mut request = EvtchnOp { cmd: EVTCHNOP_ALLOC_UNBOUND, u: [both, 0, 0, 0, 0, 0] };
    t.succeeds("alloc", older(&mut request));
    let port = request.u[1];
    t.holds("port", port != 0);
    close_all(t, &[port]);
    Ok(())
}

fn tells(t: &mut Trial) -> Verdict {
    let port = got("bind", events::bind_ipi(0))?;
    let mut request = EvtchnOp { cmd: EVTCHNOP_STATUS, u: [DOMID_SELF.into(), port, 0, 0, 0, 0] };
    t.succeeds("status", older(&mut request));
    t.equal("kind", request.u[2].into(), EVTCHNSTAT_IPI.into());
    close_all(t, &[port]);
    Ok(())
}

fn closes(t: &mut Trial) -> Verdict {
    let port = got("bind", events::bind_ipi(0))?;
    t.succeeds("close", older(&mut EvtchnOp { cmd: EVTCHNOP_CLOSE, u: [port, 0, 0, 0, 0, 0] }));
    t.equal("kind", status_of(port)?.status.into(), EVTCHNSTAT_CLOSED.into());
    Ok(())
}

fn later(t: &mut Trial) -> Verdict {
    for (name, cmd) in [("reset", EVTCHNOP_RESET), ("fifo", 11), ("unknown", 99)] {
        t.refused(name, Errno::ENOSYS, || {
            older(&mut EvtchnOp { cmd, u: [DOMID_SELF.into(), 0, 0, 0, 0, 0] })
        });
    }
    Ok(())
}

fn passes_on(t: &mut Trial) -> Verdict {
    t.refused("close", Errno::EINVAL, || older(&mut EvtchnOp { cmd: EVTCHNOP_CLOSE, u: [0; 6] }));
    Ok(())
}

fn unreadable(t: &mut Trial) -> Verdict {
    for (name, address) in pointers::UNUSABLE {
        t.refused(name, Errno::EFAULT, || raw(HYPERVISOR_EVENT_CHANNEL_OP_COMPAT, [address, 0, 0, 0, 0]));
    }
    Ok(())
}
