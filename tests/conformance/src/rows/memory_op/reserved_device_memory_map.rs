//! `memory_op(reserved_device_memory_map, request)`, sub-operation 27 (xen/include/public/memory.h, `struct xen_reserved_device_memory_map`):
//! the regions of memory that devices need at their own addresses, where an IOMMU translates for them.
//!
//! Refused: commands that say that something was done (`EINVAL`), requests that cannot be read, buffers where no guest has memory
//! (`EFAULT`), unknown flags (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::memory::{
    ReservedDeviceMemory, ReservedDeviceMemoryMap, XENMEM_RDM_ALL, XENMEM_RESERVED_DEVICE_MEMORY_MAP,
};

use super::frames::ask;
use super::frames::continued;
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers::{HYPERVISOR, NOT_CANONICAL};
use crate::rows::refusals;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "reserved_device_memory_map",
    &[
        Case::good("none", "no regions, on a machine without an IOMMU", none),
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, continued(XENMEM_RESERVED_DEVICE_MEMORY_MAP, 0))
        }),
        Case::refusal("continued", "a command that says that something was done", |t| {
            refusals::whatever(t, Errno::EINVAL, continued(XENMEM_RESERVED_DEVICE_MEMORY_MAP, 1))
        }),
        Case::refusal(
            "buffers",
            "buffers where no guest has memory, before the flags are looked at",
            buffers,
        ),
        Case::refusal("flags", "unknown flags", flags),
    ],
);

fn none(t: &mut Trial) -> Verdict {
    for (name, flags) in [("all", XENMEM_RDM_ALL), ("one-device", 0)] {
        let mut room = [ReservedDeviceMemory::default(); 4];
        let buffer = room.as_mut_ptr() as u64;
        let mut request = ReservedDeviceMemoryMap { flags, nr_entries: 4, buffer, ..Default::default() };
        t.succeeds(name, ask(XENMEM_RESERVED_DEVICE_MEMORY_MAP, &mut request));
        t.equal(format_args!("{name}.count"), request.nr_entries.into(), 0);
        t.holds(format_args!("{name}.room-kept"), room == [ReservedDeviceMemory::default(); 4]);
    }
    Ok(())
}

fn buffers(t: &mut Trial) -> Verdict {
    for (name, buffer) in [("hypervisor", HYPERVISOR), ("not-canonical", NOT_CANONICAL)] {
        let request = ReservedDeviceMemoryMap { flags: 2, nr_entries: 1, buffer, ..Default::default() };
        let call = continued(XENMEM_RESERVED_DEVICE_MEMORY_MAP, 0);
        refusals::request(t, name, Errno::EFAULT, request, call)?;
    }
    Ok(())
}

fn flags(t: &mut Trial) -> Verdict {
    for (name, flags) in [("second", 2), ("all", u32::MAX)] {
        let request = ReservedDeviceMemoryMap { flags, ..Default::default() };
        let call = continued(XENMEM_RESERVED_DEVICE_MEMORY_MAP, 0);
        refusals::request(t, name, Errno::EINVAL, request, call)?;
    }
    Ok(())
}
