//! `sched_op_compat(command, argument)`, call 6: `sched_op` as it was before interface version 0x30101
//! (xen/include/public/sched.h).
//!
//! Yields (0), blocks (1), or shuts down for the reason that is the argument itself (2). What came later has no such form.
//!
//! Refused: other commands (`ENOSYS`).

use paravane_abi::errno::Errno;
use paravane_abi::event::{
    EVTCHNOP_BIND_IPI, EVTCHNOP_CLOSE, EVTCHNOP_SEND, EvtchnBindIpi, EvtchnClose, EvtchnSend,
};
use paravane_abi::hypercall::{HYPERVISOR_EVENT_CHANNEL_OP, HYPERVISOR_SCHED_OP_COMPAT};
use paravane_abi::sched::{
    SCHEDOP_BLOCK, SCHEDOP_POLL, SCHEDOP_REMOTE_SHUTDOWN, SCHEDOP_SHUTDOWN_CODE, SCHEDOP_YIELD,
};
use pv_probe::guard::{EVENT, guarded};
use pv_probe::hypercall::{operation, raw};
use pv_probe::memory::{mask_events, shared, vcpu_info};

use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "sched_op_compat",
    &[
        Case::good("yield", "yields, whatever the argument", yields),
        Case::good("block", "blocks with events unmasked: one that is pending is delivered", block),
        Case::refusal("later", "commands that came later", later),
        Case::refusal("unknown", "commands that there are not", unknown),
    ],
);

fn call(command: u32, argument: u64) -> i64 {
    raw(HYPERVISOR_SCHED_OP_COMPAT, [command.into(), argument, 0, 0, 0])
}

fn yields(t: &mut Trial) -> Verdict {
    t.succeeds("null", call(SCHEDOP_YIELD, 0));
    t.succeeds("any", call(SCHEDOP_YIELD, u64::MAX));
    Ok(())
}

extern "C" fn blocked() -> u64 {
    call(SCHEDOP_BLOCK, 0) as u64
}

fn block(t: &mut Trial) -> Verdict {
    let mut ipi = EvtchnBindIpi { vcpu: 0, port: 0 };
    t.need("bind_ipi", operation(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_IPI, &mut ipi))?;
    let (word, bit) = (ipi.port as usize / 64, 1u64 << (ipi.port % 64));
    // SAFETY: words of the shared page; this vcpu is the only one to take its events.
    let (masks, pending) = unsafe {
        (
            (&raw mut (*shared()).evtchn_mask).cast::<u64>().add(word),
            (&raw mut (*shared()).evtchn_pending).cast::<u64>().add(word),
        )
    };
    // SAFETY: as above.
    unsafe { masks.write_volatile(masks.read_volatile() & !bit) };
    let sent = operation(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_SEND, &mut EvtchnSend { port: ipi.port });
    t.succeeds("send", sent);
    // SAFETY: an event is pending, so that it does not wait.
    let caught = unsafe { guarded(blocked as *const () as u64, 0) };
    mask_events(true);
    t.raises("block", &caught, EVENT, None);
    // SAFETY: as above; what is left of the event goes.
    unsafe {
        masks.write_volatile(masks.read_volatile() | bit);
        pending.write_volatile(pending.read_volatile() & !bit);
        (&raw mut (*vcpu_info(0)).evtchn_pending_sel).write_volatile(0);
        (&raw mut (*vcpu_info(0)).evtchn_upcall_pending).write_volatile(0);
    }
    operation(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_CLOSE, &mut EvtchnClose { port: ipi.port });
    Ok(())
}

fn later(t: &mut Trial) -> Verdict {
    for (name, command) in [
        ("poll", SCHEDOP_POLL),
        ("remote-shutdown", SCHEDOP_REMOTE_SHUTDOWN),
        ("shutdown-code", SCHEDOP_SHUTDOWN_CODE),
    ] {
        t.refused(name, Errno::ENOSYS, || call(command, 0));
    }
    Ok(())
}

fn unknown(t: &mut Trial) -> Verdict {
    for command in [7, 99, u32::MAX] {
        t.refused(format_args!("{command:x}"), Errno::ENOSYS, || call(command, 0));
    }
    Ok(())
}
