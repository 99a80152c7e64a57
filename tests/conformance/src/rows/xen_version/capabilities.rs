//! `xen_version(capabilities, answer)`, sub-operation 3 (xen/include/public/version.h): the kinds of guest there can be, separated by
//! blanks, in 1024 bytes.
//!
//! Refused: answers that cannot be written (`EFAULT`).

use paravane_abi::hypercall::HYPERVISOR_XEN_VERSION as CALL;
use paravane_abi::version::XENVER_CAPABILITIES;

use super::{answer, text};
use crate::case::{Case, Row, Verdict};
use crate::rows::refusals::{self, at};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "xen_version",
    "capabilities",
    &[
        Case::good("answer", "64-bit PV guests are among the kinds of guest", told),
        Case::refusal("pointers", "answers that cannot be written", |t| {
            refusals::pointers(t, at(CALL, XENVER_CAPABILITIES))
        }),
    ],
);

fn told(t: &mut Trial) -> Verdict {
    let bytes = answer::<1024>(t, XENVER_CAPABILITIES)?;
    let text = text(t, "text", &bytes);
    t.holds("pv64", text.split(|byte| *byte == b' ').any(|word| word == b"xen-3.0-x86_64"));
    Ok(())
}
