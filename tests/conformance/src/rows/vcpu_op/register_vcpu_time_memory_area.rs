//! `VCPUOP_register_vcpu_time_memory_area` (vcpu.h): a place for a copy of the vcpu's time parameters, by its address. It is filled
//! before the call returns.
//!
//! Refused: a struct that cannot be read, and an address that no guest may have (`EFAULT`).

use core::cell::UnsafeCell;

use paravane_abi::errno::Errno;
use paravane_abi::shared_info::VcpuTimeInfo;
use paravane_abi::vcpu::{VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA, VcpuRegisterTimeMemoryArea};
use pv_probe::events;
use pv_probe::hypercall::vcpu_operation;
use pv_probe::time::{self, MILLISECOND};

use super::unusable;
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "vcpu_op",
    "register_vcpu_time_memory_area",
    &[
        Case::good(
            "filled",
            "the area is filled at once, with what the vcpu's part of the shared page has",
            filled,
        ),
        Case::good("tells-the-time", "time by the area is time by the shared page", tells),
        Case::refusal("address", "addresses that no guest may have", address),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unusable(t, VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA);
            Ok(())
        }),
    ],
);

/// The area, which the hypervisor writes from now on.
#[repr(C, align(64))]
struct Area(UnsafeCell<VcpuTimeInfo>);

// SAFETY: one vcpu reads, and by volatile accesses.
unsafe impl Sync for Area {}

static AREA: Area = Area(UnsafeCell::new(VcpuTimeInfo {
    version: 0,
    pad0: 0,
    tsc_timestamp: 0,
    system_time: 0,
    tsc_to_system_mul: 0,
    tsc_shift: 0,
    flags: 0,
    pad1: [0; 2],
}));

fn register(addr: u64) -> i64 {
    let mut request = VcpuRegisterTimeMemoryArea { addr };
    vcpu_operation(VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA, 0, &mut request)
}

/// The area at rest.
fn read() -> VcpuTimeInfo {
    loop {
        // SAFETY: within the image; the hypervisor may write meanwhile.
        let (first, second) = unsafe { (AREA.0.get().read_volatile(), AREA.0.get().read_volatile()) };
        if first == second && first.version.is_multiple_of(2) {
            return first;
        }
    }
}

fn filled(t: &mut Trial) -> Verdict {
    t.succeeds("register", register(AREA.0.get() as u64));
    let (copy, original) = (read(), events::vcpu(0).time());
    t.holds(
        "multiplier",
        copy.tsc_to_system_mul == original.tsc_to_system_mul && copy.tsc_to_system_mul != 0,
    );
    t.holds("shift", copy.tsc_shift == original.tsc_shift);
    t.equal("version-odd", u64::from(copy.version % 2), 0);
    Ok(())
}

fn tells(t: &mut Trial) -> Verdict {
    t.need("register", register(AREA.0.get() as u64))?;
    let before = time::now();
    let by_area = read().system_time_at(time::ticks());
    let after = time::now();
    t.holds("agree", by_area + MILLISECOND >= before && by_area <= after + MILLISECOND);
    Ok(())
}

fn address(t: &mut Trial) -> Verdict {
    t.refused("hypervisor", Errno::EFAULT, || register(pointers::HYPERVISOR));
    t.refused("not-canonical", Errno::EFAULT, || register(pointers::NOT_CANONICAL));
    Ok(())
}
