//! `xen_version(commandline, answer)`, sub-operation 9 (xen/include/public/version.h): the hypervisor's command line, in up to
//! 1024 bytes. A domain without the privilege is told that it is withheld, by a text that is not padded.
//!
//! Refused: answers that cannot be written (`EFAULT`).

use paravane_abi::hypercall::HYPERVISOR_XEN_VERSION as CALL;
use paravane_abi::version::XENVER_COMMANDLINE;

use super::{BEFORE, answer};
use crate::case::{Case, Row, Verdict};
use crate::rows::refusals::{self, at};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "xen_version",
    "commandline",
    &[
        Case::good("withheld", "the text for what is withheld, and nothing behind it", withheld),
        Case::refusal("pointers", "answers that cannot be written", |t| {
            refusals::pointers(t, at(CALL, XENVER_COMMANDLINE))
        }),
    ],
);

fn withheld(t: &mut Trial) -> Verdict {
    let bytes = answer::<1024>(t, XENVER_COMMANDLINE)?;
    t.holds("text", bytes.starts_with(b"<denied>\0"));
    t.holds("rest", bytes[9..].iter().all(|byte| *byte == BEFORE));
    Ok(())
}
