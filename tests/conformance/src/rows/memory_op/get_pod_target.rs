//! `memory_op(get_pod_target, request)`, sub-operation 17 (xen/include/public/memory.h, `struct xen_pod_target`):
//! tells how many pages an HVM domain has while others are populated on demand.
//!
//! Refused: commands that say that something was done (`ENOSYS`), requests that cannot be read (`EFAULT`), domains that there
//! are not (`ESRCH`), PV domains (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::memory::{PodTarget, XENMEM_GET_POD_TARGET};
use paravane_abi::mmu::DOMID_SELF;

use super::frames::continued;
use crate::case::{Case, Row, Verdict};
use crate::rows::refusals::{self, NO_DOMAIN};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "get_pod_target",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, continued(XENMEM_GET_POD_TARGET, 0))
        }),
        Case::refusal("continued", "a command that says that something was done", |t| {
            refusals::whatever(t, Errno::ENOSYS, continued(XENMEM_GET_POD_TARGET, 1))
        }),
        Case::refusal("domains", "a domain that there is not, and the domain itself, which is PV", domains),
    ],
);

fn domains(t: &mut Trial) -> Verdict {
    for (name, domid, error) in [("nobody", NO_DOMAIN, Errno::ESRCH), ("itself", DOMID_SELF, Errno::EINVAL)] {
        let request = PodTarget { domid, target_pages: 1, ..Default::default() };
        refusals::request(t, name, error, request, continued(XENMEM_GET_POD_TARGET, 0))?;
    }
    Ok(())
}
