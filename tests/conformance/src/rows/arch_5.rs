//! `arch_5`, call 53 (xen/include/public/xen.h): architecture's own; no Xen has used it.
//!
//! Refused: everything, before anything is looked at (`ENOSYS`).

use paravane_abi::hypercall::HYPERVISOR_ARCH_5;

use crate::case::{Case, Row};
use crate::rows::refusals;

/// The row.
pub const ROW: Row = Row::call(
    "arch_5",
    &[Case::refusal("absent", "there is no such call", |t| refusals::absent(t, HYPERVISOR_ARCH_5))],
);
