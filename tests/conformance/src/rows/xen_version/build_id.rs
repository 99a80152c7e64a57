//! `xen_version(build_id, request)`, sub-operation 10 (xen/include/public/version.h, `struct xen_build_id`): the identifier
//! that the linker gave the hypervisor.
//!
//! Refused to a domain without the privilege before the request is looked at: `EPERM`.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_XEN_VERSION as CALL;
use paravane_abi::version::XENVER_BUILD_ID;

use crate::case::{Case, Row};
use crate::rows::refusals::{self, at};

/// The row.
pub const ROW: Row = Row::operation(
    "xen_version",
    "build_id",
    &[
        Case::refusal("pointers", "it is refused before its request is looked at", |t| {
            refusals::whatever(t, Errno::EPERM, at(CALL, XENVER_BUILD_ID))
        }),
        Case::refusal("privilege", "a request that there is room for", |t| {
            refusals::request(t, "room", Errno::EPERM, [28u32; 8], at(CALL, XENVER_BUILD_ID))
        }),
    ],
);
