//! `xenpmu_op(mode_set, parameters)`, sub-operation 1 (xen/include/public/pmu.h). Sets the mode.
//!
//! Refused: without counters, before the parameters are looked at (`EOPNOTSUPP`).

use paravane_abi::pmu::XENPMU_MODE_SET;

use crate::case::{Case, Row};

/// The row.
pub const ROW: Row = Row::operation(
    "xenpmu_op",
    "mode_set",
    &[Case::refusal("no-counters", "parameters good and bad, without counters", |t| {
        super::refused(t, XENPMU_MODE_SET)
    })],
);
