//! `physdev_op(manage_pci_add, request)`, sub-operation 15 (xen/include/public/physdev.h, `struct physdev_manage_pci`).
//!
//! Tells the hypervisor of a PCI device of segment 0.
//!
//! Refused: requests that cannot be read (`EFAULT`), before the domain is told that it may not (`EPERM`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::physdev::{PHYSDEVOP_MANAGE_PCI_ADD, PhysdevManagePci};

use crate::case::{Case, Row};
use crate::rows::refusals::{self, at};

/// The row.
pub const ROW: Row = Row::operation(
    "physdev_op",
    "manage_pci_add",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, at(CALL, PHYSDEVOP_MANAGE_PCI_ADD))
        }),
        Case::refusal("privilege", "a domain without devices", |t| {
            refusals::request(
                t,
                "privilege",
                Errno::EPERM,
                PhysdevManagePci { bus: 0xff, devfn: 0xff },
                at(CALL, PHYSDEVOP_MANAGE_PCI_ADD),
            )
        }),
    ],
);
