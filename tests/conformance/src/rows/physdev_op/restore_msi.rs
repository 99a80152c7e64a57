//! `physdev_op(restore_msi, request)`, sub-operation 19 (xen/include/public/physdev.h, `struct physdev_restore_msi`).
//!
//! Restores the message-signalled interrupts of a device of segment 0. Xen asks for no privilege; the cases name a
//! device that no machine has.
//!
//! Refused: requests that cannot be read (`EFAULT`), devices that there are not (`ENODEV`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::physdev::{PHYSDEVOP_RESTORE_MSI, PhysdevManagePci};

use crate::case::{Case, Row};
use crate::rows::refusals::{self, at};

/// The row.
pub const ROW: Row = Row::operation(
    "physdev_op",
    "restore_msi",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, at(CALL, PHYSDEVOP_RESTORE_MSI))
        }),
        Case::refusal("no-device", "a device that there is not", |t| {
            refusals::request(
                t,
                "no-device",
                Errno::ENODEV,
                PhysdevManagePci { bus: 0xfe, devfn: 0xff },
                at(CALL, PHYSDEVOP_RESTORE_MSI),
            )
        }),
    ],
);
