//! `physdev_op(unmap_pirq, request)`, sub-operation 14 (xen/include/public/physdev.h, `struct physdev_unmap_pirq`).
//!
//! Takes an interrupt of the machine from a domain.
//!
//! Refused: requests that cannot be read (`EFAULT`), domains that there are not (`ESRCH`), and those that the caller does not
//! serve as a device model, itself too (`EPERM`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::mmu::DOMID_SELF;
use paravane_abi::physdev::{PHYSDEVOP_UNMAP_PIRQ, PhysdevUnmapPirq};

use crate::case::{Case, Row};
use crate::rows::refusals::{self, NO_DOMAIN, at};

/// The row.
pub const ROW: Row = Row::operation(
    "physdev_op",
    "unmap_pirq",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, at(CALL, PHYSDEVOP_UNMAP_PIRQ))
        }),
        Case::refusal("no-domain", "a domain that there is not", |t| {
            refusals::request(
                t,
                "no-domain",
                Errno::ESRCH,
                PhysdevUnmapPirq { domid: NO_DOMAIN, pirq: 4, ..Default::default() },
                at(CALL, PHYSDEVOP_UNMAP_PIRQ),
            )
        }),
        Case::refusal("itself", "the domain itself, which is not its own device model", |t| {
            refusals::request(
                t,
                "itself",
                Errno::EPERM,
                PhysdevUnmapPirq { domid: DOMID_SELF, pirq: 4, ..Default::default() },
                at(CALL, PHYSDEVOP_UNMAP_PIRQ),
            )
        }),
    ],
);
