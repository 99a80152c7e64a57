//! `memory_op(machphys_compat_mfn_list, request)`, sub-operation 25 (xen/include/public/memory.h, `struct xen_machphys_mfn_list`):
//! the frames of the machine-to-physical table of 32-bit domains, where there can be such domains.
//!
//! Refused: commands that say that something was done (`ENOSYS`), elsewhere everything, before the request is looked at
//! (`EOPNOTSUPP`).

use paravane_abi::errno::Errno;
use paravane_abi::memory::{MachphysMfnList, XENMEM_MACHPHYS_COMPAT_MFN_LIST};

use super::frames::continued;
use crate::case::{Case, Row};
use crate::rows::refusals;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "machphys_compat_mfn_list",
    &[
        Case::refusal("pointers", "it is refused before its request is looked at", |t| {
            refusals::whatever(t, Errno::EOPNOTSUPP, continued(XENMEM_MACHPHYS_COMPAT_MFN_LIST, 0))
        }),
        Case::refusal("no-such-domains", "a request without room", |t| {
            let request = MachphysMfnList::default();
            let call = continued(XENMEM_MACHPHYS_COMPAT_MFN_LIST, 0);
            refusals::request(t, "no-room", Errno::EOPNOTSUPP, request, call)
        }),
        Case::refusal("continued", "a command that says that something was done", |t| {
            refusals::whatever(t, Errno::ENOSYS, continued(XENMEM_MACHPHYS_COMPAT_MFN_LIST, 1))
        }),
    ],
);
