//! `xenpmu_op(lvtpc_set, parameters)`, sub-operation 6 (xen/include/public/pmu.h). Loads the mask bit of the local vector table's entry from the page.
//!
//! Refused: without counters, before the parameters are looked at (`EOPNOTSUPP`).

use paravane_abi::pmu::XENPMU_LVTPC_SET;

use crate::case::{Case, Row};

/// The row.
pub const ROW: Row = Row::operation(
    "xenpmu_op",
    "lvtpc_set",
    &[Case::refusal("no-counters", "parameters good and bad, without counters", |t| {
        super::refused(t, XENPMU_LVTPC_SET)
    })],
);
