//! `physdev_op(alloc_irq_vector, request)`, sub-operation 10 (xen/include/public/physdev.h, `struct physdev_irq`).
//!
//! Gives the domain that programs interrupts its number back as a vector: Xen chooses vectors by itself.
//!
//! Refused: requests that cannot be read (`EFAULT`), before the domain is told that it may not (`EPERM`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::physdev::{PHYSDEVOP_ALLOC_IRQ_VECTOR, PhysdevIrq};

use crate::case::{Case, Row};
use crate::rows::refusals::{self, at};

/// The row.
pub const ROW: Row = Row::operation(
    "physdev_op",
    "alloc_irq_vector",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, at(CALL, PHYSDEVOP_ALLOC_IRQ_VECTOR))
        }),
        Case::refusal("privilege", "a domain without devices", |t| {
            refusals::request(
                t,
                "privilege",
                Errno::EPERM,
                PhysdevIrq { irq: 4, vector: 0x5a },
                at(CALL, PHYSDEVOP_ALLOC_IRQ_VECTOR),
            )
        }),
    ],
);
