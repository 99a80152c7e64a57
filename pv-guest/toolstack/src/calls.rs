//! The hypercalls of a toolstack, with what they say when they fail.

use core::fmt;

use paravane_abi::console::{CONSOLEIO_READ, CONSOLEIO_WRITE};
use paravane_abi::domctl::GetDomainInfo;
use paravane_abi::errno::Errno;
use paravane_abi::event::{
    EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_BIND_INTERDOMAIN, EVTCHNOP_BIND_VIRQ, EVTCHNOP_CLOSE, EVTCHNOP_SEND,
    EvtchnAllocUnbound, EvtchnBindInterdomain, EvtchnBindVirq, EvtchnClose, EvtchnSend,
};
use paravane_abi::hypercall as nr;
use paravane_abi::memory::{MemoryReservation, XENMEM_POPULATE_PHYSMAP};
use paravane_abi::mmu::MmuextOp;
use paravane_abi::privileged::{Domctl, XEN_DOMCTL_GETDOMAININFO};
use paravane_abi::sched::{SCHEDOP_POLL, SchedPoll};
use pv_probe::hypercall::{code, operation, raw};
use zerocopy::{Immutable, IntoBytes};

/// What was refused, and with which code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    what: &'static str,
    result: i64,
}

impl Refused {
    /// There is less memory than a domain was to have.
    pub const fn too_little_memory() -> Self {
        Self { what: "populate_physmap", result: Errno::ENOMEM.to_ret() }
    }

    /// A kernel that needs a PC: Xen has such domains by hardware alone.
    pub const fn no_pc() -> Self {
        Self { what: "trap", result: Errno::EOPNOTSUPP.to_ret() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, code(self.result))
    }
}

/// Tells an error from a result.
pub fn checked(what: &'static str, result: i64) -> Result<u64, Refused> {
    u64::try_from(result).map_err(|_| Refused { what, result })
}

/// An operation on a domain.
pub fn domctl<T: IntoBytes + Immutable>(
    what: &'static str,
    command: u32,
    domain: u16,
    argument: &T,
) -> Result<Domctl, Refused> {
    let mut call = Domctl::with(command, domain, argument);
    let arguments = [&raw mut call as u64, 0, 0, 0, 0];
    checked(what, raw(nr::HYPERVISOR_DOMCTL, arguments))?;
    Ok(call)
}

/// What there is to know of a domain; `None` when it does not exist.
pub fn domain_info(domain: u16) -> Option<GetDomainInfo> {
    let call = domctl("getdomaininfo", XEN_DOMCTL_GETDOMAININFO, domain, &GetDomainInfo::default()).ok()?;
    let info: GetDomainInfo = call.argument();
    // The hypervisor tells of the next one where there is none of that number.
    (info.domain == domain).then_some(info)
}

/// Gives a domain memory: `extents` are first guest frames, then machine frames. How many it got.
pub fn populate(domain: u16, order: u32, extents: &mut [u64]) -> Result<usize, Refused> {
    let mut argument = MemoryReservation {
        extent_start: extents.as_mut_ptr() as u64,
        nr_extents: extents.len() as u64,
        extent_order: order,
        domid: domain,
        ..MemoryReservation::default()
    };
    let result = operation(nr::HYPERVISOR_MEMORY_OP, XENMEM_POPULATE_PHYSMAP, &mut argument);
    checked("populate_physmap", result).map(|count| count as usize)
}

/// An extended operation on a frame of another domain's.
pub fn mmuext(what: &'static str, command: u32, frame: u64, domain: u16) -> Result<(), Refused> {
    let call = MmuextOp::new(command, frame, 0);
    let arguments = [&raw const call as u64, 1, 0, domain.into(), 0];
    checked(what, raw(nr::HYPERVISOR_MMUEXT_OP, arguments)).map(drop)
}

fn event_operation<T>(what: &'static str, command: u32, argument: &mut T) -> Result<(), Refused> {
    checked(what, operation(nr::HYPERVISOR_EVENT_CHANNEL_OP, command, argument)).map(drop)
}

/// A port of another domain's that this one may connect to.
pub fn alloc_unbound(domain: u16) -> Result<u32, Refused> {
    let mut argument = EvtchnAllocUnbound { dom: domain, remote_dom: 0, port: 0 };
    event_operation("alloc_unbound", EVTCHNOP_ALLOC_UNBOUND, &mut argument)?;
    Ok(argument.port)
}

/// Connects to such a port: the one at this end.
pub fn bind_interdomain(domain: u16, port: u32) -> Result<u32, Refused> {
    let mut argument =
        EvtchnBindInterdomain { remote_dom: domain, remote_port: port, ..EvtchnBindInterdomain::default() };
    event_operation("bind_interdomain", EVTCHNOP_BIND_INTERDOMAIN, &mut argument)?;
    Ok(argument.local_port)
}

/// A port for a virtual interrupt.
pub fn bind_virq(virq: u32) -> Result<u32, Refused> {
    let mut argument = EvtchnBindVirq { virq, vcpu: 0, port: 0 };
    event_operation("bind_virq", EVTCHNOP_BIND_VIRQ, &mut argument)?;
    Ok(argument.port)
}

/// Raises the other end of a port. Nobody may be there any more.
pub fn notify(port: u32) {
    let _ = event_operation("send", EVTCHNOP_SEND, &mut EvtchnSend { port });
}

/// Closes a port of this domain's.
pub fn close(port: u32) {
    event_operation("close", EVTCHNOP_CLOSE, &mut EvtchnClose { port }).expect("the port is open");
}

/// Waits for one of some ports, no longer than until a system time.
pub fn poll(ports: &[u32], timeout: u64) -> Result<(), Refused> {
    let mut argument =
        SchedPoll { ports: ports.as_ptr() as u64, nr_ports: ports.len() as u32, pad: 0, timeout };
    checked("poll", operation(nr::HYPERVISOR_SCHED_OP, SCHEDOP_POLL, &mut argument)).map(drop)
}

/// Prints bytes as they are.
pub fn console_write(bytes: &[u8]) {
    let arguments = [CONSOLEIO_WRITE.into(), bytes.len() as u64, bytes.as_ptr() as u64, 0, 0];
    raw(nr::HYPERVISOR_CONSOLE_IO, arguments);
}

/// Takes what was typed: how many bytes.
pub fn console_read(bytes: &mut [u8]) -> usize {
    let arguments = [CONSOLEIO_READ.into(), bytes.len() as u64, bytes.as_mut_ptr() as u64, 0, 0];
    usize::try_from(raw(nr::HYPERVISOR_CONSOLE_IO, arguments)).unwrap_or(0)
}
