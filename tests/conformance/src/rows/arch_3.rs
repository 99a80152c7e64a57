//! `arch_3`, call 51 (xen/include/public/xen.h): architecture's own; no Xen has used it.
//!
//! Refused: everything, before anything is looked at (`ENOSYS`).

use paravane_abi::hypercall::HYPERVISOR_ARCH_3;

use crate::case::{Case, Row};
use crate::rows::refusals;

/// The row.
pub const ROW: Row = Row::call(
    "arch_3",
    &[Case::refusal("absent", "there is no such call", |t| refusals::absent(t, HYPERVISOR_ARCH_3))],
);
