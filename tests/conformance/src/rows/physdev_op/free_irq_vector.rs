//! `physdev_op(free_irq_vector, request)`, sub-operation 11 (xen/include/public/physdev.h, `struct physdev_irq`).
//!
//! The header still names it, and no Xen has it any more: `ENOSYS`, whatever the request.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::physdev::{PHYSDEVOP_FREE_IRQ_VECTOR, PhysdevIrq};

use crate::case::{Case, Row};
use crate::rows::refusals::{self, at};

/// The row.
pub const ROW: Row = Row::operation(
    "physdev_op",
    "free_irq_vector",
    &[
        Case::refusal("refused-first", "it is refused before the request is looked at", |t| {
            refusals::whatever(t, Errno::ENOSYS, at(CALL, PHYSDEVOP_FREE_IRQ_VECTOR))
        }),
        Case::refusal("gone", "a request as it once was", |t| {
            refusals::request(
                t,
                "gone",
                Errno::ENOSYS,
                PhysdevIrq { irq: 4, vector: 0 },
                at(CALL, PHYSDEVOP_FREE_IRQ_VECTOR),
            )
        }),
    ],
);
