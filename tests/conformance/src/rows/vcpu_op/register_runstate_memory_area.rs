//! `VCPUOP_register_runstate_memory_area` (vcpu.h): a place that the hypervisor keeps current, by its address in whatever address space the
//! vcpu runs. It is filled before the call returns. What cannot be written there later is not an error.
//!
//! Refused: a struct that cannot be read, and an address that no guest may have (`EFAULT`).

use core::cell::UnsafeCell;

use paravane_abi::errno::Errno;
use paravane_abi::vcpu::{
    RUNSTATE_OFFLINE, RUNSTATE_RUNNING, VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, VcpuRegisterRunstateMemoryArea,
    VcpuRunstateInfo,
};
use pv_probe::hypercall::vcpu_operation;

use super::{spare, unusable};
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "vcpu_op",
    "register_runstate_memory_area",
    &[
        Case::good("filled", "the area is filled at once", filled),
        Case::good("other-vcpu", "that of a vcpu that does not run", other_vcpu),
        Case::good("not-mapped", "an address where nothing is mapped is taken", not_mapped),
        Case::refusal("address", "addresses that no guest may have", address),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unusable(t, VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA);
            Ok(())
        }),
    ],
);

/// Areas, which the hypervisor writes from now on.
#[repr(C, align(64))]
struct Area(UnsafeCell<VcpuRunstateInfo>);

// SAFETY: one vcpu reads, and by volatile accesses.
unsafe impl Sync for Area {}

static AREAS: [Area; 2] = [const {
    Area(UnsafeCell::new(VcpuRunstateInfo { state: 99, pad: 0, state_entry_time: 0, time: [0; 4] }))
}; 2];

fn register(vcpu: u32, addr: u64) -> i64 {
    let mut request = VcpuRegisterRunstateMemoryArea { addr };
    vcpu_operation(VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, vcpu, &mut request)
}

fn read(area: usize) -> VcpuRunstateInfo {
    // SAFETY: within the image; the hypervisor may write meanwhile.
    unsafe { AREAS[area].0.get().read_volatile() }
}

fn filled(t: &mut Trial) -> Verdict {
    t.succeeds("register", register(0, AREAS[0].0.get() as u64));
    let info = read(0);
    t.equal("state", info.state.into(), RUNSTATE_RUNNING.into());
    t.holds("since", info.state_entry_time > 0);
    Ok(())
}

fn other_vcpu(t: &mut Trial) -> Verdict {
    let vcpu = spare()?;
    t.succeeds("register", register(vcpu, AREAS[1].0.get() as u64));
    let info = read(1);
    t.equal("state", info.state.into(), RUNSTATE_OFFLINE.into());
    t.equal("has-run", info.time[0], 0);
    Ok(())
}

fn not_mapped(t: &mut Trial) -> Verdict {
    t.succeeds("nothing", register(0, pointers::NOTHING));
    t.succeeds("null", register(0, 0));
    t.succeeds("back", register(0, AREAS[0].0.get() as u64));
    Ok(())
}

fn address(t: &mut Trial) -> Verdict {
    t.refused("hypervisor", Errno::EFAULT, || register(0, pointers::HYPERVISOR));
    t.refused("not-canonical", Errno::EFAULT, || register(0, pointers::NOT_CANONICAL));
    Ok(())
}
