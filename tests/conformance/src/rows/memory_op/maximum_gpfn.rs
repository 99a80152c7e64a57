//! `memory_op(maximum_gpfn, request)`, sub-operation 14 (xen/include/public/memory.h, `struct xen_memory_domain`): the largest guest
//! frame number, by the count that a PV guest keeps in its shared page (`arch.max_pfn`).
//!
//! Refused: commands that say that something was done (`EINVAL`), requests that cannot be read (`EFAULT`), domains that there
//! are not (`ESRCH`), others than the caller (`EPERM`).

use paravane_abi::memory::{MemoryDomain, XENMEM_MAXIMUM_GPFN};
use paravane_abi::mmu::DOMID_SELF;
use pv_probe::memory;

use super::domain;
use super::frames::ask;
use crate::case::{Case, Role, Row, Verdict};
use crate::rows::refusals::own_domain;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "maximum_gpfn",
    &[
        Case::good("told", "one less than the count in the shared page", told),
        Case::good("own-number", "the domain may be named by its number", own_number),
        Case::refusal("pointers", "requests that cannot be read", |t| {
            domain::pointers(t, XENMEM_MAXIMUM_GPFN)
        }),
        Case::refusal("no-domain", "domains that there are not", |t| {
            domain::no_domain(t, XENMEM_MAXIMUM_GPFN)
        }),
        Case::refusal("other-domain", "another domain", |t| domain::other_domain(t, XENMEM_MAXIMUM_GPFN))
            .role(Role::Pair),
        Case::refusal("continued", "a command that says that something was done", |t| {
            domain::started(t, XENMEM_MAXIMUM_GPFN)
        }),
    ],
);

fn number(domid: u16) -> i64 {
    ask(XENMEM_MAXIMUM_GPFN, &mut MemoryDomain { domid })
}

fn told(t: &mut Trial) -> Verdict {
    // SAFETY: a field of the shared page, which the guest alone writes.
    let count = unsafe { &raw mut (*memory::shared()).arch.max_pfn };
    // SAFETY: as above.
    let before = unsafe { count.read_volatile() };
    for (value, want) in [(0, 0), (1, 0), (2, 1), (0x1234, 0x1233), (1 << 40, (1 << 40) - 1)] {
        // SAFETY: as above.
        unsafe { count.write_volatile(value) };
        t.result(format_args!("count-{value:#x}"), number(DOMID_SELF), want);
    }
    // SAFETY: as above.
    unsafe { count.write_volatile(before) };
    Ok(())
}

fn own_number(t: &mut Trial) -> Verdict {
    let own = own_domain()?;
    t.holds("same", number(own) == number(DOMID_SELF));
    Ok(())
}
