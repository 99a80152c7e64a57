//! `arch_7`, call 55 (xen/include/public/xen.h): architecture's own; no Xen has used it.
//!
//! Refused: everything, before anything is looked at (`ENOSYS`).

use paravane_abi::hypercall::HYPERVISOR_ARCH_7;

use crate::case::{Case, Row};
use crate::rows::refusals;

/// The row.
pub const ROW: Row = Row::call(
    "arch_7",
    &[Case::refusal("absent", "there is no such call", |t| refusals::absent(t, HYPERVISOR_ARCH_7))],
);
