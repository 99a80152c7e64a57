//! `xen_version(changeset, answer)`, sub-operation 4 (xen/include/public/version.h): the revision of the source, a text in 64 bytes.
//!
//! Refused: answers that cannot be written (`EFAULT`).

use paravane_abi::hypercall::HYPERVISOR_XEN_VERSION as CALL;
use paravane_abi::version::XENVER_CHANGESET;

use super::{answer, text};
use crate::case::{Case, Row, Verdict};
use crate::rows::refusals::{self, at};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "xen_version",
    "changeset",
    &[
        Case::good("answer", "a text of 64 bytes", told),
        Case::refusal("pointers", "answers that cannot be written", |t| {
            refusals::pointers(t, at(CALL, XENVER_CHANGESET))
        }),
    ],
);

fn told(t: &mut Trial) -> Verdict {
    let bytes = answer::<64>(t, XENVER_CHANGESET)?;
    text(t, "text", &bytes);
    Ok(())
}
