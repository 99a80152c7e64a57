//! `memory_op(claim_pages, request)`, sub-operation 24 (xen/include/public/memory.h, `struct xen_memory_reservation`):
//! sets pages aside for a domain, for who builds it.
//!
//! Refused: commands that say that something was done (`EINVAL`), requests that cannot be read (`EFAULT`), those with a list, an
//! order or flags, and domains that there are not (`EINVAL`; `DOMID_SELF` is none here), then a domain without the privilege
//! (`EPERM`).

use paravane_abi::errno::Errno;
use paravane_abi::memory::{MemoryReservation, XENMEM_CLAIM_PAGES};
use paravane_abi::mmu::DOMID_SELF;

use super::frames::continued;
use crate::case::{Case, Row, Verdict};
use crate::rows::refusals::{self, NO_DOMAIN, own_domain};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "claim_pages",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, continued(XENMEM_CLAIM_PAGES, 0))
        }),
        Case::refusal("continued", "a command that says that something was done", |t| {
            refusals::whatever(t, Errno::EINVAL, continued(XENMEM_CLAIM_PAGES, 1))
        }),
        Case::refusal("senseless", "a list, an order, flags", senseless),
        Case::refusal("no-domain", "domains that there are not", no_domain),
        Case::refusal("privilege", "the domain itself, without the privilege", privilege),
    ],
);

fn about(domid: u16) -> MemoryReservation {
    MemoryReservation { domid, nr_extents: 1, ..Default::default() }
}

fn senseless(t: &mut Trial) -> Verdict {
    let own = about(own_domain()?);
    for (name, request) in [
        ("list", MemoryReservation { extent_start: 0x1000, ..own }),
        ("order", MemoryReservation { extent_order: 1, ..own }),
        ("flags", MemoryReservation { mem_flags: 1, ..own }),
    ] {
        refusals::request(t, name, Errno::EINVAL, request, continued(XENMEM_CLAIM_PAGES, 0))?;
    }
    Ok(())
}

fn no_domain(t: &mut Trial) -> Verdict {
    for (name, domid) in [("nobody", NO_DOMAIN), ("self", DOMID_SELF)] {
        refusals::request(t, name, Errno::EINVAL, about(domid), continued(XENMEM_CLAIM_PAGES, 0))?;
    }
    Ok(())
}

fn privilege(t: &mut Trial) -> Verdict {
    refusals::request(t, "own", Errno::EPERM, about(own_domain()?), continued(XENMEM_CLAIM_PAGES, 0))
}
