//! `xenpmu_op(feature_set, parameters)`, sub-operation 3 (xen/include/public/pmu.h). Sets the features.
//!
//! Refused: without counters, before the parameters are looked at (`EOPNOTSUPP`).

use paravane_abi::pmu::XENPMU_FEATURE_SET;

use crate::case::{Case, Row};

/// The row.
pub const ROW: Row = Row::operation(
    "xenpmu_op",
    "feature_set",
    &[Case::refusal("no-counters", "parameters good and bad, without counters", |t| {
        super::refused(t, XENPMU_FEATURE_SET)
    })],
);
