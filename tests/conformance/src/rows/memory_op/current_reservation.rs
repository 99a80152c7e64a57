//! `memory_op(current_reservation, request)`, sub-operation 3 (xen/include/public/memory.h, `struct xen_memory_domain`): the domain's
//! pages.
//!
//! Refused: commands that say that something was done (`EINVAL`), requests that cannot be read (`EFAULT`), domains that there
//! are not (`ESRCH`), others than the caller (`EPERM`).

use paravane_abi::memory::{MemoryDomain, XENMEM_CURRENT_RESERVATION};
use paravane_abi::mmu::DOMID_SELF;
use pv_probe::boot::start;

use super::domain;
use super::frames::ask;
use crate::case::{Case, Role, Row, Verdict};
use crate::rows::refusals::own_domain;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "current_reservation",
    &[
        Case::good("told", "as many pages as there were at the start", told),
        Case::good("own-number", "the domain may be named by its number", own_number),
        Case::refusal("pointers", "requests that cannot be read", |t| {
            domain::pointers(t, XENMEM_CURRENT_RESERVATION)
        }),
        Case::refusal("no-domain", "domains that there are not", |t| {
            domain::no_domain(t, XENMEM_CURRENT_RESERVATION)
        }),
        Case::refusal("other-domain", "another domain", |t| {
            domain::other_domain(t, XENMEM_CURRENT_RESERVATION)
        })
        .role(Role::Pair),
        Case::refusal("continued", "a command that says that something was done", |t| {
            domain::started(t, XENMEM_CURRENT_RESERVATION)
        }),
    ],
);

fn number(domid: u16) -> i64 {
    ask(XENMEM_CURRENT_RESERVATION, &mut MemoryDomain { domid })
}

fn told(t: &mut Trial) -> Verdict {
    t.holds("pages", number(DOMID_SELF) == start().info.nr_pages as i64);
    Ok(())
}

fn own_number(t: &mut Trial) -> Verdict {
    let own = own_domain()?;
    t.holds("same", number(own) == number(DOMID_SELF));
    Ok(())
}
