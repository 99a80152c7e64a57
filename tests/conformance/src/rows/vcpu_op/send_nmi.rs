//! `VCPUOP_send_nmi` (vcpu.h): a non-maskable event for a vcpu, which enters it by the handler of trap 2 whatever its event mask says,
//! and with events masked if the handler was registered as a callback. Until the handler returns by the `iret` hypercall there is no other; one that is sent meanwhile comes then.
//! Without a handler it is lost.
//!
//! Refused: an argument, which must be null (`EINVAL`).

use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_SET_TRAP_TABLE;
use paravane_abi::regs::rflags;
use paravane_abi::trap::vector;
use paravane_abi::vcpu::VCPUOP_SEND_NMI;
use pv_probe::guard::{Caught, RETURNED, guarded, leave, stub, trap_stack};
use pv_probe::hypercall::raw;
use pv_probe::{guard, memory, ring, vcpus};

use super::call;
use crate::case::{Case, Row, Stop, Verdict};
use crate::rows::event_channel_op::needs_vcpu;
use crate::rows::nmi_op::register_callback::register;
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "vcpu_op",
    "send_nmi",
    &[
        Case::good("to-oneself", "it comes before the call returns, though events are masked", to_oneself),
        Case::good(
            "masks-events",
            "a handler that was registered as a callback starts with events masked",
            masks_events,
        ),
        Case::good("again", "after the handler's return there may be another", again),
        Case::good("not-nested", "one sent in the handler comes right after its return", not_nested),
        Case::good("no-handler", "without a handler it is lost", no_handler),
        Case::good("other-vcpu", "another vcpu, which has been running", other_vcpu),
        Case::refusal("argument", "an argument that is not null", argument),
    ],
);

global_asm!(
    ".pushsection .text.conformance_after_nmi, \"ax\", @progbits",
    "conformance_after_nmi:",
    "    ud2",
    ".popsection"
);

unsafe extern "C" {
    fn conformance_after_nmi();
}

extern "C" fn send(_: u64) -> u64 {
    call(VCPUOP_SEND_NMI, 0, 0) as u64
}

/// Sends one to this vcpu: what comes of it.
pub fn to_self() -> Caught {
    // SAFETY: the function makes a call and returns.
    unsafe { guarded(send as *const () as u64, 0) }
}

/// Ends a handler by the `iret` hypercall, which returns to an invalid opcode of this kernel's: what comes of it.
pub fn end_handler() -> Caught {
    let code = conformance_after_nmi as *const () as u64;
    let (cs, ss) = (ring::shown_code(), ring::stack().into());
    // The page below holds what the hypervisor pushes.
    let frame = [0, 0, 0, 0, code, cs, rflags::FIXED, trap_stack(), ss];
    // SAFETY: one `ud2`, on a stack of the guard's.
    unsafe { leave(&frame, &[0; 15]) }
}

fn to_oneself(t: &mut Trial) -> Verdict {
    memory::mask_events(true);
    t.raises("send", &to_self(), vector::NMI.into(), None);
    t.raises("return", &end_handler(), vector::UD.into(), None);
    Ok(())
}

fn masks_events(t: &mut Trial) -> Verdict {
    pv_probe::events::settle();
    // A handler of the trap table's masks events if its entry says so, one that was registered as a callback always.
    t.need("register", register(stub(vector::NMI.into())))?;
    memory::mask_events(false);
    let caught = to_self();
    let masked = memory::events_masked();
    memory::mask_events(true);
    t.raises("send", &caught, vector::NMI.into(), None);
    t.holds("masked", masked);
    t.equal("mask-before", caught.frame()[1] >> 32 & 0xff, 0);
    t.raises("return", &end_handler(), vector::UD.into(), None);
    Ok(())
}

fn again(t: &mut Trial) -> Verdict {
    for _ in 0..3 {
        t.raises("send", &to_self(), vector::NMI.into(), None);
        t.raises("return", &end_handler(), vector::UD.into(), None);
    }
    Ok(())
}

fn not_nested(t: &mut Trial) -> Verdict {
    t.raises("send", &to_self(), vector::NMI.into(), None);
    let second = to_self();
    t.equal("in-handler", second.vector, RETURNED);
    t.equal("result", second.registers[0], 0);
    // Two that are pending are one.
    t.equal("in-handler-again", to_self().vector, RETURNED);
    t.raises("return", &end_handler(), vector::NMI.into(), None);
    t.raises("return-again", &end_handler(), vector::UD.into(), None);
    Ok(())
}

fn no_handler(t: &mut Trial) -> Verdict {
    t.need("take all handlers away", raw(HYPERVISOR_SET_TRAP_TABLE, [0; 5]))?;
    let caught = to_self();
    guard::initialise();
    t.equal("lost", caught.vector, RETURNED);
    t.raises("send", &to_self(), vector::NMI.into(), None);
    t.raises("return", &end_handler(), vector::UD.into(), None);
    Ok(())
}

static ENTERED: AtomicU64 = AtomicU64::new(0);

/// Runs until something ends it.
extern "C" fn spin(_: u64) -> u64 {
    ENTERED.store(1, Ordering::SeqCst);
    loop {
        core::hint::spin_loop();
    }
}

fn other_vcpu(t: &mut Trial) -> Verdict {
    needs_vcpu(1)?;
    ENTERED.store(0, Ordering::SeqCst);
    vcpus::start(1, spin, 0);
    while ENTERED.load(Ordering::SeqCst) == 0 {
        pv_probe::hypercall::yield_now();
    }
    t.succeeds("send", call(VCPUOP_SEND_NMI, 1, 0));
    let caught = vcpus::finish(1).ok_or(Stop::Error("vcpu 1 goes on and on", 0))?;
    t.raises("there", &caught, vector::NMI.into(), None);
    Ok(())
}

fn argument(t: &mut Trial) -> Verdict {
    let word = 0u64;
    for (name, address) in [("word", &raw const word as u64), ("nothing", pointers::NOTHING)] {
        t.refused(name, Errno::EINVAL, || call(VCPUOP_SEND_NMI, 0, address));
    }
    Ok(())
}
