//! `xen_version(extraversion, answer)`, sub-operation 1 (xen/include/public/version.h): the rest of the version, a text in 16 bytes.
//!
//! Refused: answers that cannot be written (`EFAULT`).

use paravane_abi::hypercall::HYPERVISOR_XEN_VERSION as CALL;
use paravane_abi::version::XENVER_EXTRAVERSION;

use super::{answer, text};
use crate::case::{Case, Row, Verdict};
use crate::rows::refusals::{self, at};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "xen_version",
    "extraversion",
    &[
        Case::good("answer", "a text of 16 bytes", told),
        Case::refusal("pointers", "answers that cannot be written", |t| {
            refusals::pointers(t, at(CALL, XENVER_EXTRAVERSION))
        }),
    ],
);

fn told(t: &mut Trial) -> Verdict {
    let bytes = answer::<16>(t, XENVER_EXTRAVERSION)?;
    let text = text(t, "text", &bytes);
    t.holds("not-empty", !text.is_empty());
    Ok(())
}
