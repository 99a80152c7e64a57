//! `xenpmu_op(feature_get, parameters)`, sub-operation 2 (xen/include/public/pmu.h). Gives the features.
//!
//! Refused: without counters, before the parameters are looked at (`EOPNOTSUPP`).

use paravane_abi::pmu::XENPMU_FEATURE_GET;

use crate::case::{Case, Row};

/// The row.
pub const ROW: Row = Row::operation(
    "xenpmu_op",
    "feature_get",
    &[Case::refusal("no-counters", "parameters good and bad, without counters", |t| {
        super::refused(t, XENPMU_FEATURE_GET)
    })],
);
