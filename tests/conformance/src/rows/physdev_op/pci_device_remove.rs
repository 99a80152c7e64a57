//! `physdev_op(pci_device_remove, request)`, sub-operation 26 (xen/include/public/physdev.h, `struct physdev_pci_device`).
//!
//! Tells the hypervisor that a PCI device is gone.
//!
//! Refused: requests that cannot be read (`EFAULT`), before the domain is told that it may not (`EPERM`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::physdev::{PHYSDEVOP_PCI_DEVICE_REMOVE, PhysdevPciDevice};

use crate::case::{Case, Row};
use crate::rows::refusals::{self, at};

/// The row.
pub const ROW: Row = Row::operation(
    "physdev_op",
    "pci_device_remove",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, at(CALL, PHYSDEVOP_PCI_DEVICE_REMOVE))
        }),
        Case::refusal("privilege", "a domain without devices, before the device is looked for", |t| {
            refusals::request(
                t,
                "privilege",
                Errno::EPERM,
                PhysdevPciDevice { seg: 0, bus: 0xff, devfn: 0xff },
                at(CALL, PHYSDEVOP_PCI_DEVICE_REMOVE),
            )
        }),
    ],
);
