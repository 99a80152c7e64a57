//! `memory_op(command, request)`, call 12 (xen/include/public/memory.h): what memory the domain has, and taking, giving and
//! exchanging some.
//!
//! The lowest six bits of the command's register name the operation. Those above say how many extents an earlier part of the
//! same call has done, by which the hypervisor goes on with a call that it interrupted; a guest may say so as well. Operations
//! that are never interrupted refuse a command that says so, by `EINVAL`, or by `ENOSYS` where the architecture's part of Xen
//! serves them.
//!
//! Refused: operations that there are not (`ENOSYS`), before the request is looked at.

mod domain;
mod frames;
mod reservation;

mod access_op;
mod acquire_resource;
mod add_to_physmap;
mod add_to_physmap_batch;
mod claim_pages;
mod current_reservation;
mod decrease_reservation;
mod exchange;
mod get_pod_target;
mod get_sharing_freed_pages;
mod get_sharing_shared_pages;
mod get_vnumainfo;
mod increase_reservation;
mod machine_memory_map;
mod machphys_compat_mfn_list;
mod machphys_mapping;
mod machphys_mfn_list;
mod maximum_gpfn;
mod maximum_ram_page;
mod maximum_reservation;
mod memory_map;
mod paging_op;
mod populate_physmap;
mod remove_from_physmap;
mod reserved_device_memory_map;
mod set_memory_map;
mod set_pod_target;
mod sharing_op;

use paravane_abi::errno::Errno;

use self::frames::continued;
use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The rows.
pub const ROWS: &[&Row] = &[
    &ROW,
    &increase_reservation::ROW,
    &decrease_reservation::ROW,
    &maximum_ram_page::ROW,
    &current_reservation::ROW,
    &maximum_reservation::ROW,
    &machphys_mfn_list::ROW,
    &populate_physmap::ROW,
    &add_to_physmap::ROW,
    &memory_map::ROW,
    &machine_memory_map::ROW,
    &exchange::ROW,
    &machphys_mapping::ROW,
    &set_memory_map::ROW,
    &maximum_gpfn::ROW,
    &remove_from_physmap::ROW,
    &set_pod_target::ROW,
    &get_pod_target::ROW,
    &get_sharing_freed_pages::ROW,
    &get_sharing_shared_pages::ROW,
    &paging_op::ROW,
    &access_op::ROW,
    &sharing_op::ROW,
    &add_to_physmap_batch::ROW,
    &claim_pages::ROW,
    &machphys_compat_mfn_list::ROW,
    &get_vnumainfo::ROW,
    &reserved_device_memory_map::ROW,
    &acquire_resource::ROW,
];

/// The call besides its sub-operations.
const ROW: Row = Row::call(
    "memory_op",
    &[
        Case::refusal("unknown", "operations that there are not, before the request is looked at", unknown),
        Case::refusal("unknown-continued", "the same, said to have done something", unknown_continued),
    ],
);

fn unknown(t: &mut Trial) -> Verdict {
    for operation in [8, 29, 30, 62, 63] {
        t.refused(format_args!("operation-{operation}"), Errno::ENOSYS, || continued(operation, 0)(0));
    }
    Ok(())
}

fn unknown_continued(t: &mut Trial) -> Verdict {
    for operation in [8, 29, 63] {
        t.refused(format_args!("operation-{operation}"), Errno::ENOSYS, || continued(operation, 1)(0));
    }
    Ok(())
}
