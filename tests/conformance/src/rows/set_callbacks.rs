//! `set_callbacks(event, failsafe, syscall)`, call 4: the older form of `callback_op` (xen/include/public/xen.h).
//!
//! Sets the addresses at which the kernel is entered for events, for returns that failed, and for its programs' system
//! calls; the latter two with events left as they are. An address that is not canonical leaves its callback as it was.
//!
//! Nothing is refused: the call gives 0 whatever the addresses are.

use paravane_abi::event::{
    EVTCHNOP_BIND_IPI, EVTCHNOP_CLOSE, EVTCHNOP_SEND, EvtchnBindIpi, EvtchnClose, EvtchnSend,
};
use paravane_abi::hypercall::{HYPERVISOR_EVENT_CHANNEL_OP, HYPERVISOR_SET_CALLBACKS};
use paravane_abi::trap::vector;
use pv_probe::guard::{Caught, EVENT, FAILSAFE, SYSCALL, guarded, stub, syscall_stub};
use pv_probe::hypercall::{operation, raw};
use pv_probe::memory::{events_masked, mask_events, shared, vcpu_info};
use pv_probe::user;

use crate::case::{Case, Rings, Row, Stop, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "set_callbacks",
    &[
        Case::good("event", "events enter at the first address, with events masked", event),
        Case::good("syscall", "programs' system calls enter at the third address", syscall)
            .rings(Rings::Three("ring 1 enters system calls without a frame, by a stub of its own")),
        Case::good("syscall-mask", "a system call leaves events unmasked", syscall_mask),
        Case::good("not-canonical", "addresses that are not canonical are passed over", not_canonical),
        Case::good("one-by-one", "an address that is passed over leaves the others their places", one_by_one),
    ],
)
.no_refusal("addresses that cannot be used are passed over");

fn set(event: u64, failsafe: u64, syscall: u64) -> i64 {
    raw(HYPERVISOR_SET_CALLBACKS, [event, failsafe, syscall, 0, 0])
}

extern "C" fn raise(port: u64) -> u64 {
    mask_events(false);
    let result = operation(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_SEND, &mut EvtchnSend { port: port as u32 });
    mask_events(true);
    result as u64
}

/// Sends this vcpu an event: what came of it.
pub fn signalled() -> Result<Caught, Stop> {
    let mut ipi = EvtchnBindIpi { vcpu: 0, port: 0 };
    let result = operation(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_IPI, &mut ipi);
    if result != 0 {
        return Err(Stop::Error("bind_ipi", result));
    }
    let (word, bit) = (ipi.port as usize / 64, 1u64 << (ipi.port % 64));
    // SAFETY: words of the shared page; this vcpu is the only one to take its events.
    unsafe {
        let masks = (&raw mut (*shared()).evtchn_mask).cast::<u64>().add(word);
        masks.write_volatile(masks.read_volatile() & !bit);
    }
    // SAFETY: sends an event, and comes back if it does not arrive.
    let caught = unsafe { guarded(raise as *const () as u64, ipi.port.into()) };
    // SAFETY: as above; what is left of the event goes.
    unsafe {
        let masks = (&raw mut (*shared()).evtchn_mask).cast::<u64>().add(word);
        masks.write_volatile(masks.read_volatile() | bit);
        let pending = (&raw mut (*shared()).evtchn_pending).cast::<u64>().add(word);
        pending.write_volatile(pending.read_volatile() & !bit);
        (&raw mut (*vcpu_info(0)).evtchn_pending_sel).write_volatile(0);
        (&raw mut (*vcpu_info(0)).evtchn_upcall_pending).write_volatile(0);
    }
    operation(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_CLOSE, &mut EvtchnClose { port: ipi.port });
    Ok(caught)
}

fn event(t: &mut Trial) -> Verdict {
    t.succeeds("set", set(stub(vector::OF.into()), stub(FAILSAFE), syscall_stub()));
    let caught = signalled()?;
    t.same("masked", events_masked(), true);
    mask_events(true);
    t.raises("event", &caught, vector::OF.into(), None);
    Ok(())
}

fn syscall(t: &mut Trial) -> Verdict {
    t.succeeds("set", set(stub(EVENT), stub(FAILSAFE), stub(vector::BR.into())));
    t.raises("program", &user::run(&[0x0f, 0x05], &[0; 15]), vector::BR.into(), None);
    Ok(())
}

fn syscall_mask(t: &mut Trial) -> Verdict {
    t.succeeds("set", set(stub(EVENT), stub(FAILSAFE), syscall_stub()));
    mask_events(false);
    let caught = user::run(&[0x0f, 0x05], &[0; 15]);
    let masked = events_masked();
    mask_events(true);
    t.raises("program", &caught, SYSCALL, None);
    // A program starts by `iret`, whose frame has IF clear.
    t.same("masked", masked, true);
    Ok(())
}

fn not_canonical(t: &mut Trial) -> Verdict {
    let bad = pointers::NOT_CANONICAL;
    t.succeeds("set", set(bad, bad, bad));
    t.raises("event", &signalled()?, EVENT, None);
    mask_events(true);
    t.raises("syscall", &user::run(&[0x0f, 0x05], &[0; 15]), SYSCALL, None);
    Ok(())
}

fn one_by_one(t: &mut Trial) -> Verdict {
    let bad = pointers::NOT_CANONICAL;
    t.succeeds("set", set(stub(vector::OF.into()), bad, bad));
    t.raises("event", &signalled()?, vector::OF.into(), None);
    mask_events(true);
    t.raises("syscall", &user::run(&[0x0f, 0x05], &[0; 15]), SYSCALL, None);
    Ok(())
}
