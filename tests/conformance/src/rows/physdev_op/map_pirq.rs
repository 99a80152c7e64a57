//! `physdev_op(map_pirq, request)`, sub-operation 13 (xen/include/public/physdev.h, `struct physdev_map_pirq`).
//!
//! Gives a domain an interrupt of the machine.
//!
//! Refused: requests that cannot be read (`EFAULT`), several messages by a table (`EINVAL`), domains that there are not
//! (`ESRCH`), and those that the caller does not serve as a device model, itself too (`EPERM`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::mmu::DOMID_SELF;
use paravane_abi::physdev::{MAP_PIRQ_TYPE_GSI, MAP_PIRQ_TYPE_MULTI_MSI, PHYSDEVOP_MAP_PIRQ, PhysdevMapPirq};

use crate::case::{Case, Row};
use crate::rows::refusals::{self, NO_DOMAIN, at};

/// The row.
pub const ROW: Row = Row::operation(
    "physdev_op",
    "map_pirq",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, at(CALL, PHYSDEVOP_MAP_PIRQ))
        }),
        Case::refusal("no-domain", "a domain that there is not", |t| {
            refusals::request(
                t,
                "no-domain",
                Errno::ESRCH,
                PhysdevMapPirq {
                    domid: NO_DOMAIN,
                    kind: MAP_PIRQ_TYPE_GSI,
                    index: 4,
                    pirq: 4,
                    ..Default::default()
                },
                at(CALL, PHYSDEVOP_MAP_PIRQ),
            )
        }),
        Case::refusal("itself", "the domain itself, which is not its own device model", |t| {
            refusals::request(
                t,
                "itself",
                Errno::EPERM,
                PhysdevMapPirq {
                    domid: DOMID_SELF,
                    kind: MAP_PIRQ_TYPE_GSI,
                    index: 4,
                    pirq: 4,
                    ..Default::default()
                },
                at(CALL, PHYSDEVOP_MAP_PIRQ),
            )
        }),
        Case::refusal(
            "several-with-table",
            "several messages and a table, before the domain is looked for",
            |t| {
                refusals::request(
                    t,
                    "several-with-table",
                    Errno::EINVAL,
                    PhysdevMapPirq {
                        domid: NO_DOMAIN,
                        kind: MAP_PIRQ_TYPE_MULTI_MSI,
                        table_base: 0x1000,
                        ..Default::default()
                    },
                    at(CALL, PHYSDEVOP_MAP_PIRQ),
                )
            },
        ),
    ],
);
