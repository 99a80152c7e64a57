//! `event_channel_op(cmd, arg)`, call 32 (xen/include/public/event_channel.h).
//!
//! A domain has ports, from 1 on; port 0 is nobody's. `arg` is the operation's struct, with `port` and the like filled in on
//! success. Ports exist in groups of 64: one past the last group is no port (`EINVAL`), one within is merely closed.
//!
//! Refused: an operation that there is not (`ENOSYS`), a struct that cannot be read (`EFAULT`). Going on with a reset when
//! none is under way is `EBUSY`.

mod alloc_unbound;
mod bind_interdomain;
mod bind_ipi;
mod bind_pirq;
mod bind_vcpu;
mod bind_virq;
mod close;
mod expand_array;
mod init_control;
mod reset;
mod send;
mod set_priority;
mod status;
mod unmask;

use paravane_abi::errno::Errno;
use paravane_abi::event::EVTCHNOP_STATUS;
use paravane_abi::event::{EVTCHNSTAT_UNBOUND, EvtchnReset, EvtchnStatus};
use paravane_abi::hypercall::HYPERVISOR_EVENT_CHANNEL_OP;
use paravane_abi::mmu::DOMID_SELF;
use pv_probe::events::{self, Made};
use pv_probe::hypercall::raw;

use crate::case::{Case, Row, Stop, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The rows.
pub const ROWS: &[&Row] = &[
    &ROW,
    &bind_interdomain::ROW,
    &bind_virq::ROW,
    &bind_pirq::ROW,
    &close::ROW,
    &send::ROW,
    &status::ROW,
    &alloc_unbound::ROW,
    &bind_ipi::ROW,
    &bind_vcpu::ROW,
    &unmask::ROW,
    &reset::ROW,
    &init_control::ROW,
    &expand_array::ROW,
    &set_priority::ROW,
];

const ROW: Row = Row::call(
    "event_channel_op",
    &[
        Case::good("upper-half", "the upper half of the operation's number means nothing", upper_half),
        Case::refusal("unknown", "operations that there are not", unknown),
        Case::refusal("nothing-to-go-on-with", "going on with a reset that nobody has begun", no_reset),
    ],
);

/// A domain that there is not.
pub const NOBODY: u16 = 999;
/// A vcpu that there is not.
pub const NO_VCPU: u32 = 99;
/// A port in the first group that nobody binds.
pub const CLOSED: u32 = 60;
/// Ports that no domain has, even in the FIFO form.
pub const NO_PORTS: [(&str, u32); 2] = [("past-all", 1 << 17), ("all-ones", u32::MAX)];

/// A call.
pub fn call(command: u32, address: u64) -> i64 {
    raw(HYPERVISOR_EVENT_CHANNEL_OP, [command.into(), address, 0, 0, 0])
}

/// A port that a case needs.
///
/// # Errors
/// An end of the case as an error.
pub fn got(what: &'static str, made: Made) -> Result<u32, Stop> {
    made.map_err(|error| Stop::Error(what, error))
}

/// The answer of a call that makes a port: 0, or the error.
pub fn answer(made: Made) -> i64 {
    made.map_or_else(|error| error, |_| 0)
}

/// What a port is connected to.
///
/// # Errors
/// An end of the case as an error.
pub fn status_of(port: u32) -> Result<EvtchnStatus, Stop> {
    events::status(port).map_err(|error| Stop::Error("the port's status", error))
}

/// This domain's number, which a port for itself tells.
///
/// # Errors
/// An end of the case as an error.
pub fn own_number() -> Result<u16, Stop> {
    let port = got("a port for oneself", events::alloc_unbound(DOMID_SELF))?;
    let status = status_of(port)?;
    events::close(port);
    Ok(status.u[0] as u16)
}

/// Two ports of this domain's that are connected: the one that waited, and the one that was bound to it. Both are masked,
/// nothing is pending.
///
/// # Errors
/// An end of the case as an error.
pub fn connected() -> Result<(u32, u32), Stop> {
    let first = got("a port for oneself", events::alloc_unbound(DOMID_SELF))?;
    let second = got("a port bound to it", events::bind_interdomain(DOMID_SELF, first))?;
    events::settle();
    for port in [first, second] {
        events::set_mask(port, true);
    }
    Ok((first, second))
}

/// Closes ports, and unmasks them for who gets them next.
pub fn close_all(t: &mut Trial, ports: &[u32]) {
    for &port in ports {
        t.holds("closed", events::close(port) == 0);
        events::set_mask(port, false);
    }
    events::settle();
}

/// The structs that no operation can read.
fn unreadable(t: &mut Trial, command: u32) {
    for (name, address) in pointers::UNUSABLE {
        t.refused(name, Errno::EFAULT, || call(command, address));
    }
}

/// A case about a second vcpu.
///
/// # Errors
/// The case is skipped where there is none.
pub fn needs_vcpu(number: u32) -> Verdict {
    if pv_probe::vcpus::exists(number) { Ok(()) } else { Err(Stop::Skip("the domain has too few vcpus")) }
}

fn upper_half(t: &mut Trial) -> Verdict {
    let port = got("a port for oneself", events::alloc_unbound(DOMID_SELF))?;
    let mut request = EvtchnStatus { dom: DOMID_SELF, port, ..Default::default() };
    let command = 1 << 32 | u64::from(EVTCHNOP_STATUS);
    let address = &raw mut request as u64;
    t.succeeds("status", raw(HYPERVISOR_EVENT_CHANNEL_OP, [command, address, 0, 0, 0]));
    t.equal("kind", request.status.into(), EVTCHNSTAT_UNBOUND.into());
    close_all(t, &[port]);
    Ok(())
}

fn unknown(t: &mut Trial) -> Verdict {
    let mut argument = [0u64; 4];
    for (name, command) in [("first", 15), ("hundred", 100), ("all-ones", u32::MAX)] {
        t.refused(name, Errno::ENOSYS, || call(command, argument.as_mut_ptr() as u64));
    }
    Ok(())
}

fn no_reset(t: &mut Trial) -> Verdict {
    // Xen's own number for the rest of a long reset, which its public header does not name.
    const RESET_CONTINUED: u32 = 14;
    let mut request = EvtchnReset { dom: DOMID_SELF };
    t.refused("go-on", Errno::EBUSY, || call(RESET_CONTINUED, &raw mut request as u64));
    Ok(())
}
