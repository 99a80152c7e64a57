//! `tmem_op`, call 38 (xen/include/public/tmem.h): transcendent memory, which Xen had until 4.12.
//!
//! Refused: everything, before anything is looked at (`ENOSYS`).

use paravane_abi::hypercall::HYPERVISOR_TMEM_OP;

use crate::case::{Case, Row};
use crate::rows::refusals;

/// The row.
pub const ROW: Row = Row::call(
    "tmem_op",
    &[Case::refusal("absent", "there is no such call", |t| refusals::absent(t, HYPERVISOR_TMEM_OP))],
);
