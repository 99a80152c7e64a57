//! `memory_op(access_op, request)`, sub-operation 21 (xen/include/public/memory.h, `struct xen_mem_access_op`):
//! sets or tells how another domain's pages may be accessed, for who watches HVM domains.
//!
//! Refused: requests that cannot be read (`EFAULT`), domains that there are not (`ESRCH`; `DOMID_SELF` is none here), the domain
//! itself (`EPERM`), PV domains (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::memory::{MemAccessOp, XENMEM_ACCESS_OP};
use paravane_abi::mmu::DOMID_SELF;

use super::frames::continued;
use crate::case::{Case, Role, Row, Verdict};
use crate::pair;
use crate::rows::refusals::{self, NO_DOMAIN, own_domain};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "access_op",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, continued(XENMEM_ACCESS_OP, 0))
        }),
        Case::refusal("no-domain", "domains that there are not", no_domain),
        Case::refusal("itself", "the domain itself", itself),
        Case::refusal("other-domain", "another domain, which is PV", other_domain).role(Role::Pair),
    ],
);

fn about(domid: u16) -> MemAccessOp {
    MemAccessOp { domid, nr: 1, ..Default::default() }
}

fn no_domain(t: &mut Trial) -> Verdict {
    for (name, domid) in [("nobody", NO_DOMAIN), ("self", DOMID_SELF)] {
        refusals::request(t, name, Errno::ESRCH, about(domid), continued(XENMEM_ACCESS_OP, 0))?;
    }
    Ok(())
}

fn itself(t: &mut Trial) -> Verdict {
    refusals::request(t, "own", Errno::EPERM, about(own_domain()?), continued(XENMEM_ACCESS_OP, 0))
}

fn other_domain(t: &mut Trial) -> Verdict {
    refusals::request(t, "other", Errno::EINVAL, about(pair::peer()), continued(XENMEM_ACCESS_OP, 0))?;
    pair::meet(t.side())
}
