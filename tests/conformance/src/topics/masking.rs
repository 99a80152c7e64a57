//! When an event interrupts a vcpu (xen/include/public/xen.h, `struct vcpu_info`): pending bit, mask bit, selector, the flag that an upcall is due
//! and the one that masks upcalls.
//!
//! An event of a port that is not masked sets the pending bit, the selector's bit of its word and the upcall flag, in this order. The upcall is
//! made when the hypervisor returns to the vcpu with the mask flag clear; clearing the flag alone does nothing.

use paravane_abi::hypercall::HYPERVISOR_XEN_VERSION;
use pv_probe::guard::{EVENT, RETURNED, guarded};
use pv_probe::hypercall::raw;
use pv_probe::{events, memory};

use crate::case::{Case, Row, Verdict};
use crate::rows::event_channel_op::{close_all, got};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "masking",
    &[
        Case::good(
            "masked-upcall",
            "with upcalls masked an event waits, and comes with the next call",
            masked_upcall,
        ),
        Case::good("flag-alone", "clearing the mask flag alone brings nothing", flag_alone),
        Case::good("masked-port", "a masked port sets its pending bit and nothing else", masked_port),
        Case::good(
            "handler-masked",
            "the handler starts with upcalls masked, and its frame tells they were not",
            handler,
        ),
        Case::good("level", "while the flag stays set the upcall comes again", level),
        Case::good(
            "acknowledged",
            "a flag that was cleared brings no upcall, whatever is pending",
            acknowledged,
        ),
        Case::good("several", "two ports of two words set two bits of the selector", several),
        Case::good(
            "selector-first",
            "a port of a word that is selected already raises no second upcall",
            selected,
        ),
    ],
);

fn masked_upcall(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    t.succeeds("send", events::send(port));
    t.succeeds("call-masked", raw(HYPERVISOR_XEN_VERSION, [0; 5]).min(0));
    t.holds("due", events::is_upcall_pending(0));
    t.raises("unmasked", &events::deliver(), EVENT, None);
    close_all(t, &[port]);
    Ok(())
}

/// Clears the mask flag, looks for a while, and sets it again.
extern "C" fn look(_: u64) -> u64 {
    memory::mask_events(false);
    for _ in 0..1000 {
        core::hint::spin_loop();
    }
    memory::mask_events(true);
    7
}

fn flag_alone(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    t.succeeds("send", events::send(port));
    // An interrupt may come in between and bring the upcall with it: then it is tried again.
    let returned = (0..20).any(|_| {
        // SAFETY: the function touches a flag of the shared page alone.
        let caught = unsafe { guarded(look as *const () as u64, 0) };
        memory::mask_events(true);
        caught.vector == RETURNED
    });
    t.holds("nothing-came", returned);
    t.raises("with-a-call", &events::deliver(), EVENT, None);
    close_all(t, &[port]);
    Ok(())
}

fn masked_port(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    events::set_mask(port, true);
    t.succeeds("send", events::send(port));
    t.holds("pending", events::is_pending(port));
    t.equal("selector", events::selector(0), 0);
    t.holds("upcall", !events::is_upcall_pending(0));
    t.equal("nothing-came", events::deliver().vector, RETURNED);
    close_all(t, &[port]);
    Ok(())
}

fn handler(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    t.succeeds("send", events::send(port));
    let caught = events::deliver();
    t.raises("deliver", &caught, EVENT, None);
    t.holds("masked", memory::events_masked());
    t.equal("mask-before", caught.frame()[1] >> 32 & 0xff, 0);
    close_all(t, &[port]);
    Ok(())
}

fn level(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    t.succeeds("send", events::send(port));
    for _ in 0..3 {
        t.raises("deliver", &events::deliver(), EVENT, None);
    }
    events::acknowledge(0);
    t.equal("then", events::deliver().vector, RETURNED);
    close_all(t, &[port]);
    Ok(())
}

fn acknowledged(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    t.succeeds("send", events::send(port));
    events::acknowledge(0);
    t.holds("pending", events::is_pending(port));
    t.equal("nothing-came", events::deliver().vector, RETURNED);
    close_all(t, &[port]);
    Ok(())
}

fn several(t: &mut Trial) -> Verdict {
    let mut ports = [0; 70];
    for port in &mut ports {
        *port = got("bind", events::bind_ipi(0))?;
    }
    events::settle();
    t.succeeds("low", events::send(ports[0]));
    t.succeeds("high", events::send(ports[69]));
    t.equal("selector", events::selector(0), 3);
    t.raises("deliver", &events::deliver(), EVENT, None);
    for &port in &ports {
        t.need("close", events::close(port))?;
    }
    events::settle();
    Ok(())
}

fn selected(t: &mut Trial) -> Verdict {
    events::settle();
    let ports = [got("one", events::bind_ipi(0))?, got("two", events::bind_ipi(0))?];
    t.succeeds("first", events::send(ports[0]));
    // As a kernel that has seen the flag and not yet the selector.
    events::vcpu(0).upcall_pending.store(0, core::sync::atomic::Ordering::SeqCst);
    t.succeeds("second", events::send(ports[1]));
    t.holds("upcall", !events::is_upcall_pending(0));
    t.same("pending", ports.map(events::is_pending), [true, true]);
    close_all(t, &ports);
    Ok(())
}
