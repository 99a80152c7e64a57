//! `xen_version(version)`, sub-operation 0 (xen/include/public/version.h): the major version in the upper 16 bits, the minor
//! one in the lower. Guests ask for this as the call that does nothing.

use paravane_abi::hypercall::HYPERVISOR_XEN_VERSION as CALL;
use paravane_abi::version::XENVER_VERSION;

use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::rows::refusals::at;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "xen_version",
    "version",
    &[Case::good("version", "4.17, whatever the argument", version)],
)
.no_refusal("it has no argument");

fn version(t: &mut Trial) -> Verdict {
    for (name, address) in [("null", 0)].into_iter().chain(pointers::UNUSABLE) {
        let result = t.unchanged(name, || at(CALL, XENVER_VERSION)(address));
        t.result(name, result, 4 << 16 | 17);
    }
    Ok(())
}
