//! `memory_op(remove_from_physmap, request)`, sub-operation 15 (xen/include/public/memory.h, `struct xen_remove_from_physmap`):
//! takes a page out of the memory of a domain whose guest frames the hypervisor translates.
//!
//! Refused: commands that say that something was done (`EINVAL`), requests that cannot be read (`EFAULT`), domains that there
//! are not (`ESRCH`), PV domains (`EACCES`).

use paravane_abi::errno::Errno;
use paravane_abi::memory::{RemoveFromPhysmap, XENMEM_REMOVE_FROM_PHYSMAP};
use paravane_abi::mmu::DOMID_SELF;

use super::frames::continued;
use crate::case::{Case, Row, Verdict};
use crate::rows::refusals::{self, NO_DOMAIN};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "remove_from_physmap",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, continued(XENMEM_REMOVE_FROM_PHYSMAP, 0))
        }),
        Case::refusal("continued", "a command that says that something was done", |t| {
            refusals::whatever(t, Errno::EINVAL, continued(XENMEM_REMOVE_FROM_PHYSMAP, 1))
        }),
        Case::refusal("domains", "a domain that there is not, and the domain itself, which is PV", domains),
    ],
);

fn domains(t: &mut Trial) -> Verdict {
    for (name, domid, error) in [("nobody", NO_DOMAIN, Errno::ESRCH), ("itself", DOMID_SELF, Errno::EACCES)] {
        let request = RemoveFromPhysmap { domid, pad: [0; 3], gpfn: 1 };
        refusals::request(t, name, error, request, continued(XENMEM_REMOVE_FROM_PHYSMAP, 0))?;
    }
    Ok(())
}
