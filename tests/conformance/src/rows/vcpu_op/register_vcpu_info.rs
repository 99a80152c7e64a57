//! `VCPUOP_register_vcpu_info` (vcpu.h, `struct vcpu_register_vcpu_info`): moves a vcpu's part of the shared page to a frame of the
//! domain's, once. What it held is copied. An event may have gone to the old place meanwhile, so all is pending at the new one.
//!
//! Refused: a struct that cannot be read (`EFAULT`); an offset from which the 64 bytes would cross the frame's end, or that is no
//! multiple of 8 (`ENXIO`); a vcpu that has moved already or is up and not the caller, a frame that is not the domain's or cannot be
//! written (`EINVAL`).

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use paravane_abi::errno::Errno;
use paravane_abi::vcpu::{VCPUOP_REGISTER_VCPU_INFO, VcpuRegisterVcpuInfo};
use pv_probe::guard::EVENT;
use pv_probe::hypercall::{map, vcpu_operation};
use pv_probe::memory::{self, DATA, NX, WINDOW, l1_for, map_new, mfn, root, take};
use pv_probe::{events, vcpus};

use super::{spare, unusable};
use crate::case::{Case, Row, Stop, Verdict};
use crate::rows::event_channel_op::{close_all, got, needs_vcpu};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "vcpu_op",
    "register_vcpu_info",
    &[
        Case::refusal("offset", "places that cross the frame's end or are not aligned", offset),
        Case::refusal("frame", "no frame, and one of page tables", frame),
        Case::refusal("running", "another vcpu that is up", running),
        Case::refusal("frame-is-free", "a frame that was refused can be given another use", frame_is_free),
        Case::good(
            "other-vcpu",
            "the last place of a frame, for a vcpu that is down; and not a second time",
            other_vcpu,
        ),
        Case::good("caller", "the caller's own, where its events arrive from then on", caller),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unusable(t, VCPUOP_REGISTER_VCPU_INFO);
            Ok(())
        }),
    ],
);

/// Where the frames with moved parts are mapped.
const PLACES: u64 = WINDOW + 0x3100_0000;

fn register(vcpu: u32, mfn: u64, offset: u32) -> i64 {
    let mut request = VcpuRegisterVcpuInfo { mfn, offset, rsvd: 0 };
    vcpu_operation(VCPUOP_REGISTER_VCPU_INFO, vcpu, &mut request)
}

fn offset(t: &mut Trial) -> Verdict {
    let frame = mfn(take());
    for (name, offset) in [("past-end", 4040), ("far", u32::MAX - 7), ("four", 4), ("odd", 1)] {
        t.refused(name, Errno::ENXIO, || register(0, frame, offset));
    }
    Ok(())
}

fn frame(t: &mut Trial) -> Verdict {
    for (name, frame) in [("none", pointers::NO_FRAME), ("tables", root())] {
        t.refused(name, Errno::EINVAL, || register(0, frame, 0));
    }
    Ok(())
}

static GO: AtomicU64 = AtomicU64::new(0);

/// Runs until it is told to end.
extern "C" fn spin(_: u64) -> u64 {
    while GO.load(Ordering::SeqCst) == 0 {
        core::hint::spin_loop();
    }
    0
}

fn running(t: &mut Trial) -> Verdict {
    needs_vcpu(1)?;
    let frame = mfn(take());
    GO.store(0, Ordering::SeqCst);
    vcpus::start(1, spin, 0);
    t.refused("register", Errno::EINVAL, || register(1, frame, 0));
    GO.store(1, Ordering::SeqCst);
    vcpus::finish(1).map(|_| ()).ok_or(Stop::Error("vcpu 1 goes on and on", 0))
}

fn frame_is_free(t: &mut Trial) -> Verdict {
    let frame = mfn(take());
    t.refused("register", Errno::ENXIO, || register(0, frame, 4));
    l1_for(PLACES);
    t.need("map", map(PLACES, frame << 12 | memory::READ | NX))?;
    t.need("unmap", map(PLACES, 0))?;
    let level1 = paravane_abi::mmu::MMUEXT_PIN_L1_TABLE;
    t.succeeds("page-table", pv_probe::hypercall::mmuext(level1, frame, 0));
    t.need("unpin", pv_probe::hypercall::mmuext(paravane_abi::mmu::MMUEXT_UNPIN_TABLE, frame, 0))
}

static MOVED: AtomicBool = AtomicBool::new(false);

fn other_vcpu(t: &mut Trial) -> Verdict {
    let vcpu = spare()?;
    if MOVED.swap(true, Ordering::SeqCst) {
        return Err(Stop::Skip("it has moved"));
    }
    let place = vcpu as usize;
    events::acknowledge(place);
    let pfn = map_new(PLACES + 0x1000, DATA | NX);
    t.succeeds("register", register(vcpu, mfn(pfn), 4032));
    memory::place_vcpu_info(place, PLACES + 0x1000 + 4032);
    let now = events::vcpu(place);
    t.equal("masked", now.upcall_mask.load(Ordering::SeqCst).into(), 1);
    t.holds("upcall", events::is_upcall_pending(place));
    t.equal("selector", events::selector(place), u64::MAX);
    let (clock, caller) = (now.time(), events::vcpu(0).time());
    t.holds("clock", clock.tsc_to_system_mul == caller.tsc_to_system_mul);
    t.holds("clock-shift", clock.tsc_shift == caller.tsc_shift);
    t.fails("twice", register(vcpu, mfn(pfn), 0), Errno::EINVAL);
    // Events arrive there.
    events::acknowledge(place);
    let port = got("bind", events::bind_ipi(vcpu))?;
    t.succeeds("send", events::send(port));
    t.holds("arrived", events::is_upcall_pending(place));
    t.equal("arrived-selector", events::selector(place), 1);
    events::acknowledge(place);
    close_all(t, &[port]);
    Ok(())
}

fn caller(t: &mut Trial) -> Verdict {
    events::settle();
    let pfn = map_new(PLACES + 0x2000, DATA | NX);
    t.succeeds("register", register(0, mfn(pfn), 64));
    memory::place_vcpu_info(0, PLACES + 0x2000 + 64);
    t.holds("masked", memory::events_masked());
    t.holds("upcall", events::is_upcall_pending(0));
    t.equal("selector", events::selector(0), u64::MAX);
    t.holds("clock", events::vcpu(0).time().tsc_to_system_mul != 0);
    t.raises("delivered", &events::deliver(), EVENT, None);
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    t.succeeds("send", events::send(port));
    t.equal("arrived-selector", events::selector(0), 1);
    t.raises("event", &events::deliver(), EVENT, None);
    close_all(t, &[port]);
    t.fails("twice", register(0, mfn(pfn), 0), Errno::EINVAL);
    Ok(())
}
