//! `physdev_op(pirq_eoi_gmfn_v1, request)`, sub-operation 17 (xen/include/public/physdev.h,
//! `struct physdev_pirq_eoi_gmfn`): gives the hypervisor a page of bits, by which it tells which interrupts need an
//! `eoi`, and makes each `eoi` unmask its port. A domain gives a page once, by either version, and for good.
//!
//! Refused: requests that cannot be read (`EFAULT`), frames that are not the domain's, or that it may not write (`EINVAL`),
//! and, after these, a second page (`EBUSY`).

use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::physdev::PHYSDEVOP_PIRQ_EOI_GMFN_V1 as OPERATION;

use super::eoi_page;
use crate::case::{Case, Row};
use crate::rows::refusals::{self, at};

/// The row.
pub const ROW: Row = Row::operation(
    "physdev_op",
    "pirq_eoi_gmfn_v1",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, at(CALL, OPERATION))
        }),
        Case::refusal("no-frame", "a frame that no machine has", |t| eoi_page::no_frame(t, OPERATION)),
        Case::refusal("table", "a page table, which may not be written", |t| eoi_page::table(t, OPERATION)),
        Case::good("once", "a page is taken once", |t| eoi_page::once(t, OPERATION)),
    ],
);
