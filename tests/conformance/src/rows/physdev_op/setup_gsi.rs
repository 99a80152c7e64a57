//! `physdev_op(setup_gsi, request)`, sub-operation 21 (xen/include/public/physdev.h, `struct physdev_setup_gsi`).
//!
//! Sets how an interrupt of the machine is triggered.
//!
//! Refused: requests that cannot be read (`EFAULT`), then interrupts that there are not (`EINVAL`), then the domain
//! (`EPERM`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::physdev::{PHYSDEVOP_SETUP_GSI, PhysdevSetupGsi};

use crate::case::{Case, Row};
use crate::rows::refusals::{self, at};

/// The row.
pub const ROW: Row = Row::operation(
    "physdev_op",
    "setup_gsi",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, at(CALL, PHYSDEVOP_SETUP_GSI))
        }),
        Case::refusal("negative", "a negative number", |t| {
            refusals::request(
                t,
                "negative",
                Errno::EINVAL,
                PhysdevSetupGsi { gsi: -1, ..Default::default() },
                at(CALL, PHYSDEVOP_SETUP_GSI),
            )
        }),
        Case::refusal("beyond", "an interrupt that no machine has", |t| {
            refusals::request(
                t,
                "beyond",
                Errno::EINVAL,
                PhysdevSetupGsi { gsi: i32::MAX, ..Default::default() },
                at(CALL, PHYSDEVOP_SETUP_GSI),
            )
        }),
        Case::refusal("privilege", "an interrupt that every machine has", |t| {
            refusals::request(
                t,
                "privilege",
                Errno::EPERM,
                PhysdevSetupGsi { gsi: 3, triggering: 1, polarity: 1, ..Default::default() },
                at(CALL, PHYSDEVOP_SETUP_GSI),
            )
        }),
    ],
);
