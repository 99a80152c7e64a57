//! `physdev_op(irq_status_query, request)`, sub-operation 5 (xen/include/public/physdev.h,
//! `struct physdev_irq_status_query`): what the domain has to do for an interrupt. Any number that the domain could bind
//! will do, bound or not: the interrupt then needs an `eoi`, and nobody shares it.
//!
//! Refused: requests that cannot be read (`EFAULT`), numbers beyond those of the domain (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::physdev::{
    PHYSDEVOP_IRQ_STATUS_QUERY, PhysdevIrqStatusQuery, XENIRQSTAT_NEEDS_EOI, XENIRQSTAT_SHARED,
};
use pv_probe::hypercall::operation;

use crate::case::{Case, Row, Verdict};
use crate::rows::refusals::{self, at};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "physdev_op",
    "irq_status_query",
    &[
        Case::good(
            "unbound",
            "interrupts that every domain may bind need an end, and are not shared",
            unbound,
        ),
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, at(CALL, PHYSDEVOP_IRQ_STATUS_QUERY))
        }),
        Case::refusal("beyond", "numbers that no domain has", beyond),
    ],
);

fn unbound(t: &mut Trial) -> Verdict {
    for irq in [3, 15] {
        let mut request = PhysdevIrqStatusQuery { irq, flags: u32::MAX };
        let result = operation(CALL, PHYSDEVOP_IRQ_STATUS_QUERY, &mut request);
        t.succeeds(format_args!("irq-{irq}"), result);
        let known = XENIRQSTAT_NEEDS_EOI | XENIRQSTAT_SHARED;
        t.equal(format_args!("irq-{irq}.flags"), (request.flags & known).into(), XENIRQSTAT_NEEDS_EOI.into());
    }
    Ok(())
}

fn beyond(t: &mut Trial) -> Verdict {
    for irq in [0x1_0000, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        let what = format_args!("irq-{irq:#x}");
        let mut request = PhysdevIrqStatusQuery { irq, flags: 0x5a };
        t.refused(what, Errno::EINVAL, || operation(CALL, PHYSDEVOP_IRQ_STATUS_QUERY, &mut request));
        t.same(format_args!("irq-{irq:#x}.flags"), request.flags, 0x5a);
    }
    Ok(())
}
