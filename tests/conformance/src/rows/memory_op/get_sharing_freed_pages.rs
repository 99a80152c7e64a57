//! `memory_op(get_sharing_freed_pages, request)`, sub-operation 18 (xen/include/public/memory.h):
//! tells how many pages are saved by sharing between HVM domains: none.
//!
//! Refused: commands that say that something was done (`ENOSYS`).

use paravane_abi::errno::Errno;
use paravane_abi::memory::XENMEM_GET_SHARING_FREED_PAGES;

use super::frames::continued;
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::rows::refusals;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "get_sharing_freed_pages",
    &[
        Case::good("none", "none, whatever the request", none),
        Case::refusal("continued", "a command that says that something was done", |t| {
            refusals::whatever(t, Errno::ENOSYS, continued(XENMEM_GET_SHARING_FREED_PAGES, 1))
        }),
    ],
);

fn none(t: &mut Trial) -> Verdict {
    for (name, address) in [("null", 0)].into_iter().chain(pointers::UNUSABLE) {
        let result = t.unchanged(name, || continued(XENMEM_GET_SHARING_FREED_PAGES, 0)(address));
        t.result(name, result, 0);
    }
    Ok(())
}
