//! `memory_op(sharing_op, request)`, sub-operation 22 (xen/include/public/memory.h):
//! shares pages between HVM domains, where Xen is built for it.
//!
//! Refused: elsewhere, everything, before the request is looked at (`ENOSYS`).

use paravane_abi::errno::Errno;
use paravane_abi::memory::XENMEM_SHARING_OP;

use super::frames::continued;
use crate::case::{Case, Row};
use crate::rows::refusals;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "sharing_op",
    &[
        Case::refusal("absent", "it is not there", |t| {
            refusals::whatever(t, Errno::ENOSYS, continued(XENMEM_SHARING_OP, 0))
        }),
        Case::refusal("continued", "a command that says that something was done", |t| {
            refusals::whatever(t, Errno::ENOSYS, continued(XENMEM_SHARING_OP, 1))
        }),
    ],
);
