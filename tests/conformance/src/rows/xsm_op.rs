//! `xsm_op(request)`, call 27 (xen/include/public/xen.h, xsm/flask_op.h): the security policy. Under the default policy there is
//! nothing to ask.
//!
//! Refused: everything, before the request is looked at (`ENOSYS`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_XSM_OP;
use pv_probe::hypercall::raw;

use crate::case::{Case, Row};
use crate::rows::refusals;

/// The row.
pub const ROW: Row = Row::call(
    "xsm_op",
    &[
        Case::refusal("pointers", "it is refused before its request is looked at", |t| {
            refusals::whatever(t, Errno::ENOSYS, call)
        }),
        Case::refusal("flask", "a request of Flask's", |t| {
            refusals::request(t, "load", Errno::ENOSYS, [1u32, 1, 0, 0], call)
        }),
    ],
);

fn call(address: u64) -> i64 {
    raw(HYPERVISOR_XSM_OP, [address, 0, 0, 0, 0])
}
