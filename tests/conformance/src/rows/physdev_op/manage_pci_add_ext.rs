//! `physdev_op(manage_pci_add_ext, request)`, sub-operation 20 (xen/include/public/physdev.h, `struct physdev_manage_pci_ext`).
//!
//! Tells the hypervisor of a PCI device of segment 0 that may be a virtual function.
//!
//! Refused: requests that cannot be read (`EFAULT`), then flags that are neither 0 nor 1 (`EINVAL`), then the domain
//! (`EPERM`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::physdev::{PHYSDEVOP_MANAGE_PCI_ADD_EXT, PhysdevManagePciExt};

use crate::case::{Case, Row};
use crate::rows::refusals::{self, at};

/// The row.
pub const ROW: Row = Row::operation(
    "physdev_op",
    "manage_pci_add_ext",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, at(CALL, PHYSDEVOP_MANAGE_PCI_ADD_EXT))
        }),
        Case::refusal("extended", "an extended function of 2", |t| {
            refusals::request(
                t,
                "extended",
                Errno::EINVAL,
                PhysdevManagePciExt { bus: 0xff, is_extfn: 2, ..Default::default() },
                at(CALL, PHYSDEVOP_MANAGE_PCI_ADD_EXT),
            )
        }),
        Case::refusal("virtual", "a virtual function of 2", |t| {
            refusals::request(
                t,
                "virtual",
                Errno::EINVAL,
                PhysdevManagePciExt { bus: 0xff, is_virtfn: 2, ..Default::default() },
                at(CALL, PHYSDEVOP_MANAGE_PCI_ADD_EXT),
            )
        }),
        Case::refusal("privilege", "a domain without devices", |t| {
            refusals::request(
                t,
                "privilege",
                Errno::EPERM,
                PhysdevManagePciExt { bus: 0xff, is_extfn: 1, ..Default::default() },
                at(CALL, PHYSDEVOP_MANAGE_PCI_ADD_EXT),
            )
        }),
    ],
);
