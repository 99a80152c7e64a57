//! `argo_op`, call 39 (xen/include/public/argo.h): messages between domains, which Xen has only where it is built with them.
//!
//! Refused: everything, before anything is looked at (`ENOSYS`).

use paravane_abi::hypercall::HYPERVISOR_ARGO_OP;

use crate::case::{Case, Row};
use crate::rows::refusals;

/// The row.
pub const ROW: Row = Row::call(
    "argo_op",
    &[Case::refusal("absent", "there is no such call", |t| refusals::absent(t, HYPERVISOR_ARGO_OP))],
);
