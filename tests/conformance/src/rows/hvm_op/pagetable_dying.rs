//! `hvm_op(pagetable_dying, request)`, sub-operation 9 (xen/include/public/hvm/hvm_op.h, `struct xen_hvm_pagetable_dying`):
//! tells that a page table of an HVM domain's goes away.
//!
//! Refused: requests that cannot be read (`EFAULT`), then domains that there are not (`ESRCH`), then all but the caller
//! (`EOPNOTSUPP`), then domains that are not HVM (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::hvm::{HVMOP_PAGETABLE_DYING, HvmPagetableDying};
use paravane_abi::mmu::DOMID_SELF;

use super::ask;
use crate::case::{Case, Role, Row, Verdict};
use crate::pair;
use crate::rows::refusals::{self, NO_DOMAIN, own_domain};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "hvm_op",
    "pagetable_dying",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, ask(HVMOP_PAGETABLE_DYING))
        }),
        Case::refusal("no-domain", "a domain that there is not", no_domain),
        Case::refusal("itself", "the domain itself, by either number", itself),
        Case::refusal("other", "another domain", other).role(Role::Pair),
    ],
);

fn about(domid: u16) -> HvmPagetableDying {
    HvmPagetableDying { domid, pad: [0; 3], gpa: 0x1000 }
}

fn no_domain(t: &mut Trial) -> Verdict {
    refusals::request(t, "nobody", Errno::ESRCH, about(NO_DOMAIN), ask(HVMOP_PAGETABLE_DYING))
}

fn itself(t: &mut Trial) -> Verdict {
    for (name, domid) in [("self", DOMID_SELF), ("own", own_domain()?)] {
        refusals::request(t, name, Errno::EINVAL, about(domid), ask(HVMOP_PAGETABLE_DYING))?;
    }
    Ok(())
}

fn other(t: &mut Trial) -> Verdict {
    refusals::request(t, "other", Errno::EOPNOTSUPP, about(pair::peer()), ask(HVMOP_PAGETABLE_DYING))?;
    pair::meet(t.side())
}
