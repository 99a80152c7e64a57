//! `xen_version(compile_info, answer)`, sub-operation 2 (xen/include/public/version.h): compiler, who compiled, where and when: texts in 64, 16, 32
//! and 32 bytes.
//!
//! Refused: answers that cannot be written (`EFAULT`).

use paravane_abi::hypercall::HYPERVISOR_XEN_VERSION as CALL;
use paravane_abi::version::XENVER_COMPILE_INFO;

use super::{answer, text};
use crate::case::{Case, Row, Verdict};
use crate::rows::refusals::{self, at};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "xen_version",
    "compile_info",
    &[
        Case::good("answer", "four texts, of 64, 16, 32 and 32 bytes", told),
        Case::refusal("pointers", "answers that cannot be written", |t| {
            refusals::pointers(t, at(CALL, XENVER_COMPILE_INFO))
        }),
    ],
);

fn told(t: &mut Trial) -> Verdict {
    let bytes = answer::<144>(t, XENVER_COMPILE_INFO)?;
    for (name, start, end) in [("compiler", 0, 64), ("by", 64, 80), ("domain", 80, 112), ("date", 112, 144)] {
        text(t, name, &bytes[start..end]);
    }
    Ok(())
}
