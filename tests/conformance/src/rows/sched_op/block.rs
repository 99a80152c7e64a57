//! `SCHEDOP_block` (sched.h): unmasks the vcpu's events and sleeps until one is to be delivered, both in one step, so that none is
//! lost in between. With one pending the vcpu does not sleep at all.

use paravane_abi::hypercall::{HYPERVISOR_SCHED_OP, HYPERVISOR_SET_TIMER_OP};
use paravane_abi::sched::SCHEDOP_BLOCK;
use pv_probe::guard::{Caught, EVENT, guarded};
use pv_probe::hypercall::raw;
use pv_probe::time::{self, MILLISECOND, SLACK};
use pv_probe::{events, memory, vcpus};

use crate::case::{Case, Row, Stop, Verdict};
use crate::rows::event_channel_op::{close_all, got, needs_vcpu};
use crate::rows::vcpu_op::with_timer;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "sched_op",
    "block",
    &[
        Case::good("pending", "with an event pending it is delivered at once", pending),
        Case::good("unmasks", "whoever returns from it finds events unmasked", unmasks),
        Case::good("woken-by-timer", "a timer wakes, not before its time", by_timer),
        Case::good("woken-by-vcpu", "an event that another vcpu sends wakes", by_vcpu),
        Case::good(
            "masked-port",
            "what a masked port gets does not wake, what comes after does",
            masked_port,
        ),
    ],
)
.no_refusal("there is no argument, and sleeping is always possible");

extern "C" fn block(_: u64) -> u64 {
    raw(HYPERVISOR_SCHED_OP, [SCHEDOP_BLOCK.into(), 0, 0, 0, 0]) as u64
}

/// Blocks to the event that ends it.
fn blocked() -> Caught {
    // SAFETY: the function makes a call and returns.
    unsafe { guarded(block as *const () as u64, 0) }
}

fn pending(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    t.need("send", events::send(port))?;
    t.raises("block", &blocked(), EVENT, None);
    t.holds("masked-in-handler", memory::events_masked());
    close_all(t, &[port]);
    Ok(())
}

fn unmasks(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    t.need("send", events::send(port))?;
    memory::mask_events(true);
    let caught = blocked();
    t.raises("block", &caught, EVENT, None);
    // The byte above CS is the mask as it was when the event came.
    t.equal("mask-before", caught.frame()[1] >> 32 & 0xff, 0);
    close_all(t, &[port]);
    Ok(())
}

fn by_timer(t: &mut Trial) -> Verdict {
    // No other timer runs meanwhile.
    with_timer(t, |t, port| {
        let end = time::now() + 3 * SLACK;
        t.succeeds("set", raw(HYPERVISOR_SET_TIMER_OP, [end, 0, 0, 0, 0]));
        let caught = blocked();
        let woken = time::now();
        t.raises("block", &caught, EVENT, None);
        t.holds("not-before", woken + SLACK >= end);
        t.holds("soon", woken < end + 500 * MILLISECOND);
        t.holds("pending", events::is_pending(port));
    })
}

/// Sends, some milliseconds later.
extern "C" fn send_later(port: u64) -> u64 {
    time::wait_on(1, 5 * MILLISECOND);
    events::send(port as u32) as u64
}

fn by_vcpu(t: &mut Trial) -> Verdict {
    needs_vcpu(1)?;
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    vcpus::start(1, send_later, port.into());
    t.raises("block", &blocked(), EVENT, None);
    let sent = vcpus::finish(1).ok_or(Stop::Error("vcpu 1 goes on and on", 0))?;
    t.equal("sent", sent.registers[0], 0);
    t.holds("pending", events::is_pending(port));
    close_all(t, &[port]);
    Ok(())
}

/// Sends through a masked port, and then through the next, some milliseconds later each.
extern "C" fn send_both(port: u64) -> u64 {
    send_later(port) + send_later(port + 1)
}

fn masked_port(t: &mut Trial) -> Verdict {
    needs_vcpu(1)?;
    events::settle();
    let ports = [got("masked", events::bind_ipi(0))?, got("open", events::bind_ipi(0))?];
    t.holds("neighbours", ports[1] == ports[0] + 1);
    events::set_mask(ports[0], true);
    vcpus::start(1, send_both, ports[0].into());
    t.raises("block", &blocked(), EVENT, None);
    t.same("pending", ports.map(events::is_pending), [true, true]);
    vcpus::finish(1).ok_or(Stop::Error("vcpu 1 goes on and on", 0))?;
    close_all(t, &ports);
    Ok(())
}
