//! What many rows refuse alike.

use core::fmt::Display;

use paravane_abi::errno::Errno;
use paravane_abi::event::{
    EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_CLOSE, EVTCHNOP_STATUS, EvtchnAllocUnbound, EvtchnClose, EvtchnStatus,
};
use paravane_abi::hypercall::HYPERVISOR_EVENT_CHANNEL_OP;
use paravane_abi::mmu::DOMID_SELF;
use pv_probe::hypercall::{operation, raw};

use crate::case::{Stop, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// A number that no domain has.
pub const NO_DOMAIN: u16 = 0x7abc;

/// A call with a sub-operation, whose request lies at an address.
pub fn at(call: u64, command: u32) -> impl Fn(u64) -> i64 {
    move |address| raw(call, [command.into(), address, 0, 0, 0])
}

/// Where no request can be: null too.
fn addresses() -> impl Iterator<Item = (&'static str, u64)> {
    [("null", 0)].into_iter().chain(pointers::UNUSABLE)
}

/// Requests that cannot be reached.
pub fn pointers(t: &mut Trial, call: impl Fn(u64) -> i64) -> Verdict {
    for (name, address) in addresses() {
        t.refused(name, Errno::EFAULT, || call(address));
    }
    Ok(())
}

/// A call that is refused before its request is looked at, wherever that is.
pub fn whatever(t: &mut Trial, error: Errno, call: impl Fn(u64) -> i64) -> Verdict {
    for (name, address) in addresses() {
        t.refused(name, error, || call(address));
    }
    Ok(())
}

/// A request that is refused, and left as it is.
pub fn request<T: Copy + PartialEq>(
    t: &mut Trial,
    what: impl Display,
    error: Errno,
    request: T,
    call: impl Fn(u64) -> i64,
) -> Verdict {
    let mut place = request;
    t.refused(&what, error, || call(&raw mut place as u64));
    t.holds(format_args!("{what}.request-kept"), place == request);
    Ok(())
}

/// The running domain's own number, as the hypervisor tells it of a port that waits for its own domain.
///
/// # Errors
/// When there is no port to be had.
pub fn own_domain() -> Result<u16, Stop> {
    let mut port = EvtchnAllocUnbound { dom: DOMID_SELF, remote_dom: DOMID_SELF, port: 0 };
    let result = operation(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, &mut port);
    if result != 0 {
        return Err(Stop::Error("a port", result));
    }
    let mut status = EvtchnStatus { dom: DOMID_SELF, port: port.port, ..Default::default() };
    let told = operation(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_STATUS, &mut status);
    operation(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_CLOSE, &mut EvtchnClose { port: port.port });
    if told != 0 {
        return Err(Stop::Error("the port's status", told));
    }
    Ok(status.u[0] as u16)
}

/// A call that there is not, whatever its arguments.
pub fn absent(t: &mut Trial, call: u64) -> Verdict {
    for (name, command) in [("zero", 0), ("one", 1), ("large", 0x5a5a_5a5a), ("negative", u32::MAX)] {
        t.refused(name, Errno::ENOSYS, || at(call, command)(0));
    }
    whatever(t, Errno::ENOSYS, at(call, 0))
}
