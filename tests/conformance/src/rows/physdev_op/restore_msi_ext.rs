//! `physdev_op(restore_msi_ext, request)`, sub-operation 27 (xen/include/public/physdev.h, `struct physdev_pci_device`).
//!
//! As `restore_msi`, for any segment.
//!
//! Refused: requests that cannot be read (`EFAULT`), devices that there are not (`ENODEV`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::physdev::{PHYSDEVOP_RESTORE_MSI_EXT, PhysdevPciDevice};

use crate::case::{Case, Row};
use crate::rows::refusals::{self, at};

/// The row.
pub const ROW: Row = Row::operation(
    "physdev_op",
    "restore_msi_ext",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, at(CALL, PHYSDEVOP_RESTORE_MSI_EXT))
        }),
        Case::refusal("no-device", "a device of a segment that there is not", |t| {
            refusals::request(
                t,
                "no-device",
                Errno::ENODEV,
                PhysdevPciDevice { seg: 0xfffe, bus: 0xfe, devfn: 0xff },
                at(CALL, PHYSDEVOP_RESTORE_MSI_EXT),
            )
        }),
    ],
);
