//! `physdev_op(get_free_pirq, request)`, sub-operation 23 (xen/include/public/physdev.h, `struct physdev_get_free_pirq`):
//! sets a number for an interrupt aside for the domain. Any domain may ask; whether there is a number depends on the
//! machine's interrupts and on how many more the hypervisor has been told to give each domain.
//!
//! Refused: requests that cannot be read (`EFAULT`), when no number is left (`ENOSPC`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::physdev::{
    MAP_PIRQ_TYPE_GSI, MAP_PIRQ_TYPE_MSI, PHYSDEVOP_GET_FREE_PIRQ, PhysdevGetFreePirq,
};
use pv_probe::hypercall::operation;

use crate::case::{Case, Row, Verdict};
use crate::rows::refusals::{self, at};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "physdev_op",
    "get_free_pirq",
    &[
        Case::good("number-or-none", "a number that is no ISA interrupt's, or none", number),
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, at(CALL, PHYSDEVOP_GET_FREE_PIRQ))
        }),
    ],
);

/// What stands where the number will be.
const BEFORE: u32 = 0x5a5a_5a5a;

fn number(t: &mut Trial) -> Verdict {
    for (name, kind) in [("gsi", MAP_PIRQ_TYPE_GSI), ("msi", MAP_PIRQ_TYPE_MSI)] {
        let mut request = PhysdevGetFreePirq { kind, pirq: BEFORE };
        let result = operation(CALL, PHYSDEVOP_GET_FREE_PIRQ, &mut request);
        let known = result == 0 || result == Errno::ENOSPC.to_ret();
        let fits = if result == 0 { (16..0x1_0000).contains(&request.pirq) } else { request.pirq == BEFORE };
        t.holds(format_args!("{name}.answered"), known);
        t.holds(format_args!("{name}.number"), fits);
    }
    Ok(())
}
