//! `physdev_op(eoi, request)`, sub-operation 12 (xen/include/public/physdev.h, `struct physdev_eoi`).
//!
//! Ends an interrupt that the domain has bound to a port.
//!
//! Refused: requests that cannot be read (`EFAULT`), interrupts that the domain has not (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::physdev::{PHYSDEVOP_EOI, PhysdevEoi};

use crate::case::{Case, Row};
use crate::rows::refusals::{self, at};

/// The row.
pub const ROW: Row = Row::operation(
    "physdev_op",
    "eoi",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, at(CALL, PHYSDEVOP_EOI))
        }),
        Case::refusal("unbound", "a number that the domain could have, bound to nothing", |t| {
            refusals::request(t, "unbound", Errno::EINVAL, PhysdevEoi { irq: 3 }, at(CALL, PHYSDEVOP_EOI))
        }),
        Case::refusal("beyond", "a number that no domain has", |t| {
            refusals::request(
                t,
                "beyond",
                Errno::EINVAL,
                PhysdevEoi { irq: u32::MAX },
                at(CALL, PHYSDEVOP_EOI),
            )
        }),
    ],
);
