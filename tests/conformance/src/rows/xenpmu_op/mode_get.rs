//! `xenpmu_op(mode_get, parameters)`, sub-operation 0 (xen/include/public/pmu.h). Gives the mode, and the version of the interface.
//!
//! Refused: without counters, before the parameters are looked at (`EOPNOTSUPP`).

use paravane_abi::pmu::XENPMU_MODE_GET;

use crate::case::{Case, Row};

/// The row.
pub const ROW: Row = Row::operation(
    "xenpmu_op",
    "mode_get",
    &[Case::refusal("no-counters", "parameters good and bad, without counters", |t| {
        super::refused(t, XENPMU_MODE_GET)
    })],
);
