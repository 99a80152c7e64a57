//! `memory_op(maximum_ram_page)`, sub-operation 2 (xen/include/public/memory.h): how many frames the machine has, which is one
//! more than its largest number.
//!
//! Refused: commands that say that something was done (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::memory::XENMEM_MAXIMUM_RAM_PAGE;
use pv_probe::boot::start;
use pv_probe::memory;

use super::frames::continued;
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::rows::refusals;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "maximum_ram_page",
    &[
        Case::good("above-all", "every frame of the domain has a smaller number", above_all),
        Case::good("no-request", "the same, wherever a request would lie", no_request),
        Case::refusal("continued", "a command that says that something was done", |t| {
            refusals::whatever(t, Errno::EINVAL, continued(XENMEM_MAXIMUM_RAM_PAGE, 1))
        }),
    ],
);

fn above_all(t: &mut Trial) -> Verdict {
    let frames = continued(XENMEM_MAXIMUM_RAM_PAGE, 0)(0);
    t.holds("positive", frames > 0);
    t.holds("above", (0..start().info.nr_pages).all(|pfn| memory::mfn(pfn) < frames as u64));
    Ok(())
}

fn no_request(t: &mut Trial) -> Verdict {
    let frames = continued(XENMEM_MAXIMUM_RAM_PAGE, 0)(0);
    for (name, address) in pointers::UNUSABLE {
        t.holds(name, continued(XENMEM_MAXIMUM_RAM_PAGE, 0)(address) == frames);
    }
    Ok(())
}
