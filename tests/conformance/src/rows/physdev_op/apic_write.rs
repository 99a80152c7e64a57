//! `physdev_op(apic_write, request)`, sub-operation 9 (xen/include/public/physdev.h, `struct physdev_apic`).
//!
//! Writes a register of an I/O APIC, for the domain that programs interrupts.
//!
//! Refused: requests that cannot be read (`EFAULT`), before the domain is told that it may not (`EPERM`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::physdev::{PHYSDEVOP_APIC_WRITE, PhysdevApic};

use crate::case::{Case, Row};
use crate::rows::refusals::{self, at};

/// The row.
pub const ROW: Row = Row::operation(
    "physdev_op",
    "apic_write",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, at(CALL, PHYSDEVOP_APIC_WRITE))
        }),
        Case::refusal("privilege", "a domain without devices", |t| {
            refusals::request(
                t,
                "privilege",
                Errno::EPERM,
                PhysdevApic { apic_physbase: 0xfec0_0000, reg: 0, value: 0 },
                at(CALL, PHYSDEVOP_APIC_WRITE),
            )
        }),
    ],
);
