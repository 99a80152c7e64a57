//! `physdev_op(IRQ_UNMASK_NOTIFY)`, sub-operation 4 (xen/include/public/physdev.h): ends every interrupt whose port is
//! unmasked. It is older than `eoi`, takes no request, and has nothing to do for a domain without interrupts.

use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::physdev::PHYSDEVOP_IRQ_UNMASK_NOTIFY;

use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::rows::refusals::at;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "physdev_op",
    "irq_unmask_notify",
    &[Case::good("no-interrupts", "it succeeds without interrupts, whatever the request", no_interrupts)],
)
.no_refusal("it has no argument");

fn no_interrupts(t: &mut Trial) -> Verdict {
    for (name, address) in [("null", 0)].into_iter().chain(pointers::UNUSABLE) {
        let result = t.unchanged(name, || at(CALL, PHYSDEVOP_IRQ_UNMASK_NOTIFY)(address));
        t.succeeds(name, result);
    }
    Ok(())
}
