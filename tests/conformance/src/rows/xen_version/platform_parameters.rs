//! `xen_version(platform_parameters, answer)`, sub-operation 5 (xen/include/public/version.h,
//! `struct xen_platform_parameters`): where the hypervisor's range begins.
//!
//! Refused: answers that cannot be written (`EFAULT`).

use paravane_abi::hypercall::HYPERVISOR_XEN_VERSION as CALL;
use paravane_abi::version::XENVER_PLATFORM_PARAMETERS;

use super::answer;
use crate::case::{Case, Row, Verdict};
use crate::rows::refusals::{self, at};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "xen_version",
    "platform_parameters",
    &[
        Case::good("virt-start", "the hypervisor's range begins with the upper half", virt_start),
        Case::refusal("pointers", "answers that cannot be written", |t| {
            refusals::pointers(t, at(CALL, XENVER_PLATFORM_PARAMETERS))
        }),
    ],
);

fn virt_start(t: &mut Trial) -> Verdict {
    let bytes = answer::<8>(t, XENVER_PLATFORM_PARAMETERS)?;
    t.equal("virt-start", u64::from_le_bytes(bytes), 0xffff_8000_0000_0000);
    Ok(())
}
