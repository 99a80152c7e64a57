//! `xen_version(guest_handle, answer)`, sub-operation 8 (xen/include/public/version.h): the domain's UUID, of 16 bytes, as
//! whoever built the domain chose it.
//!
//! Refused: answers that cannot be written (`EFAULT`).

use paravane_abi::hypercall::HYPERVISOR_XEN_VERSION as CALL;
use paravane_abi::version::XENVER_GUEST_HANDLE;

use super::{BEFORE, answer};
use crate::case::{Case, Row, Verdict};
use crate::rows::refusals::{self, at};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "xen_version",
    "guest_handle",
    &[
        Case::good("told", "16 bytes, the same each time", told),
        Case::refusal("pointers", "answers that cannot be written", |t| {
            refusals::pointers(t, at(CALL, XENVER_GUEST_HANDLE))
        }),
    ],
);

fn told(t: &mut Trial) -> Verdict {
    let first = answer::<16>(t, XENVER_GUEST_HANDLE)?;
    t.holds("written", first != [BEFORE; 16]);
    let second = answer::<16>(t, XENVER_GUEST_HANDLE)?;
    t.holds("same", first == second);
    Ok(())
}
