//! Event channels: the calls, and the bits of the 2-level form in the shared page.

use core::sync::atomic::Ordering;

use paravane_abi::event::{
    EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_BIND_INTERDOMAIN, EVTCHNOP_BIND_IPI, EVTCHNOP_BIND_VIRQ, EVTCHNOP_CLOSE,
    EVTCHNOP_RESET, EVTCHNOP_SEND, EVTCHNOP_STATUS, EVTCHNOP_UNMASK, EVTCHNSTAT_INTERDOMAIN,
    EvtchnAllocUnbound, EvtchnBindInterdomain, EvtchnBindIpi, EvtchnBindVirq, EvtchnClose, EvtchnReset,
    EvtchnSend, EvtchnStatus, EvtchnUnmask, mask_of_port, word_of_port,
};
use paravane_abi::hypercall as nr;
use paravane_abi::live::{LiveVcpuInfo, SharedPage};
use paravane_abi::mmu::DOMID_SELF;

use crate::boot::start;
use crate::guard::{Caught, guarded};
use crate::hypercall::{operation, raw, yield_now};
use crate::memory::{shared, vcpu_info};

/// What a call that makes a port gives: the port, or the error.
pub type Made = Result<u32, i64>;

/// A call.
pub fn call<T>(command: u32, argument: &mut T) -> i64 {
    operation(nr::HYPERVISOR_EVENT_CHANNEL_OP, command, argument)
}

fn made(result: i64, port: u32) -> Made {
    if result == 0 { Ok(port) } else { Err(result) }
}

/// A port of this domain's that a domain may bind to.
///
/// # Errors
/// The call's.
pub fn alloc_unbound(remote_dom: u16) -> Made {
    let mut request = EvtchnAllocUnbound { dom: DOMID_SELF, remote_dom, port: 0 };
    made(call(EVTCHNOP_ALLOC_UNBOUND, &mut request), request.port)
}

/// A port that is connected to one of a domain's.
///
/// # Errors
/// The call's.
pub fn bind_interdomain(remote_dom: u16, remote_port: u32) -> Made {
    let mut request = EvtchnBindInterdomain { remote_dom, remote_port, ..Default::default() };
    made(call(EVTCHNOP_BIND_INTERDOMAIN, &mut request), request.local_port)
}

/// A port that vcpus send to one of theirs by.
///
/// # Errors
/// The call's.
pub fn bind_ipi(vcpu: u32) -> Made {
    let mut request = EvtchnBindIpi { vcpu, port: 0 };
    made(call(EVTCHNOP_BIND_IPI, &mut request), request.port)
}

/// A port of a virtual interrupt.
///
/// # Errors
/// The call's.
pub fn bind_virq(virq: u32, vcpu: u32) -> Made {
    let mut request = EvtchnBindVirq { virq, vcpu, port: 0 };
    made(call(EVTCHNOP_BIND_VIRQ, &mut request), request.port)
}

/// Closes a port: the result.
pub fn close(port: u32) -> i64 {
    call(EVTCHNOP_CLOSE, &mut EvtchnClose { port })
}

/// Sends through a port: the result.
pub fn send(port: u32) -> i64 {
    call(EVTCHNOP_SEND, &mut EvtchnSend { port })
}

/// Unmasks a port by the call: the result.
pub fn unmask(port: u32) -> i64 {
    call(EVTCHNOP_UNMASK, &mut EvtchnUnmask { port })
}

/// What a port of this domain's is connected to.
///
/// # Errors
/// The call's.
pub fn status(port: u32) -> Result<EvtchnStatus, i64> {
    let mut request = EvtchnStatus { dom: DOMID_SELF, port, ..Default::default() };
    match call(EVTCHNOP_STATUS, &mut request) {
        0 => Ok(request),
        error => Err(error),
    }
}

/// The shared page.
pub fn page() -> &'static SharedPage {
    // SAFETY: mapped for good, and its words are atomics.
    unsafe { &*shared().cast::<SharedPage>() }
}

/// A vcpu's part of it, or where that was placed.
pub fn vcpu(number: usize) -> &'static LiveVcpuInfo {
    // SAFETY: mapped for good, and its words are atomics.
    unsafe { &*vcpu_info(number).cast::<LiveVcpuInfo>() }
}

/// Whether a port's pending bit is set.
pub fn is_pending(port: u32) -> bool {
    page().evtchn_pending[word_of_port(port)].load(Ordering::SeqCst) & mask_of_port(port) != 0
}

/// Clears a port's pending bit.
pub fn clear(port: u32) {
    page().evtchn_pending[word_of_port(port)].fetch_and(!mask_of_port(port), Ordering::SeqCst);
}

/// Whether a port's mask bit is set.
pub fn is_masked(port: u32) -> bool {
    page().evtchn_mask[word_of_port(port)].load(Ordering::SeqCst) & mask_of_port(port) != 0
}

/// Sets or clears a port's mask bit.
pub fn set_mask(port: u32, masked: bool) {
    let word = &page().evtchn_mask[word_of_port(port)];
    if masked {
        word.fetch_or(mask_of_port(port), Ordering::SeqCst);
    } else {
        word.fetch_and(!mask_of_port(port), Ordering::SeqCst);
    }
}

/// Whether a vcpu is told that something is pending.
pub fn is_upcall_pending(number: usize) -> bool {
    vcpu(number).is_pending()
}

/// The words of pending bits that a vcpu is told to look at.
pub fn selector(number: usize) -> u64 {
    vcpu(number).pending_sel.load(Ordering::SeqCst)
}

/// Takes note of what a vcpu was told, as a kernel that handles events does.
pub fn acknowledge(number: usize) {
    vcpu(number).upcall_pending.store(0, Ordering::SeqCst);
    vcpu(number).pending_sel.store(0, Ordering::SeqCst);
}

/// Makes vcpu 0 quiet: the ports of console and xenstore are masked and no other is, nothing is pending, events are masked.
pub fn settle() {
    vcpu(0).mask_upcalls();
    page().evtchn_mask.iter().for_each(|word| word.store(0, Ordering::SeqCst));
    let info = &start().info;
    for port in [info.store_evtchn, info.console_evtchn] {
        if port != 0 {
            set_mask(port, true);
        }
    }
    page().evtchn_pending.iter().for_each(|word| word.store(0, Ordering::SeqCst));
    acknowledge(0);
}

extern "C" fn open(_: u64) -> u64 {
    // The flag alone delivers nothing; any call does.
    let due = vcpu(0).unmask_upcalls();
    raw(nr::HYPERVISOR_XEN_VERSION, [0; 5]);
    vcpu(0).mask_upcalls();
    due.into()
}

/// Unmasks vcpu 0's events and makes a call: what comes of it, [`EVENT`](crate::guard::EVENT) when an event is delivered.
/// Afterwards events are masked.
pub fn deliver() -> Caught {
    // SAFETY: the function touches flags of the shared page alone.
    unsafe { guarded(open as *const () as u64, 0) }
}

/// Waits until a port is pending, for about as many milliseconds; whether it is.
pub fn wait_pending(port: u32, milliseconds: u64) -> bool {
    let end = crate::time::now() + milliseconds * 1_000_000;
    while !is_pending(port) {
        if crate::time::now() > end {
            return is_pending(port);
        }
        yield_now();
    }
    true
}

/// Closes all ports by `EVTCHNOP_reset`: the result. Those of console and xenstore are connected again, by the numbers they
/// had, or where nobody is at the other end at least taken.
pub fn reset() -> i64 {
    let info = &start().info;
    let mut served = [info.store_evtchn, info.console_evtchn];
    served.sort_unstable();
    let before = served.map(status);
    let result = call(EVTCHNOP_RESET, &mut EvtchnReset { dom: DOMID_SELF });
    for (port, before) in served.into_iter().zip(before) {
        let Ok(before) = before else { continue };
        if port == 0 || result != 0 {
            continue;
        }
        let again = match before.status {
            EVTCHNSTAT_INTERDOMAIN => bind_interdomain(before.u[0] as u16, before.u[1]),
            _ => alloc_unbound(before.u[0] as u16),
        };
        assert!(again == Ok(port), "port {port} is not to be had again: {again:?}");
    }
    result
}
