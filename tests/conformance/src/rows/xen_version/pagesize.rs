//! `xen_version(pagesize)`, sub-operation 7 (xen/include/public/version.h): a page's bytes, 4096.
//!
//! Refused: arguments that are not null (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_XEN_VERSION as CALL;
use paravane_abi::version::XENVER_PAGESIZE;

use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::rows::refusals::at;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "xen_version",
    "pagesize",
    &[
        Case::good("bytes", "a page has 4096 bytes", bytes),
        Case::refusal("argument", "an argument, wherever it lies", argument),
    ],
);

fn bytes(t: &mut Trial) -> Verdict {
    t.result("bytes", at(CALL, XENVER_PAGESIZE)(0), 4096);
    Ok(())
}

fn argument(t: &mut Trial) -> Verdict {
    let place = 0u64;
    for (name, address) in [("good", &raw const place as u64)].into_iter().chain(pointers::UNUSABLE) {
        t.refused(name, Errno::EINVAL, || at(CALL, XENVER_PAGESIZE)(address));
    }
    Ok(())
}
