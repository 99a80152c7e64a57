//! `physdev_op(pci_device_add, request)`, sub-operation 25 (xen/include/public/physdev.h, `struct physdev_pci_device_add`).
//!
//! Tells the hypervisor of a PCI device of any segment.
//!
//! Refused: requests that cannot be read (`EFAULT`), before the domain is told that it may not (`EPERM`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::physdev::{PHYSDEVOP_PCI_DEVICE_ADD, PhysdevPciDeviceAdd};

use crate::case::{Case, Row};
use crate::rows::refusals::{self, at};

/// The row.
pub const ROW: Row = Row::operation(
    "physdev_op",
    "pci_device_add",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, at(CALL, PHYSDEVOP_PCI_DEVICE_ADD))
        }),
        Case::refusal("privilege", "a domain without devices", |t| {
            refusals::request(
                t,
                "privilege",
                Errno::EPERM,
                PhysdevPciDeviceAdd { bus: 0xff, devfn: 0xff, ..Default::default() },
                at(CALL, PHYSDEVOP_PCI_DEVICE_ADD),
            )
        }),
    ],
);
