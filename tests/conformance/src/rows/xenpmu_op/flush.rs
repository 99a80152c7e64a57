//! `xenpmu_op(flush, parameters)`, sub-operation 7 (xen/include/public/pmu.h). Loads the counters from the page.
//!
//! Refused: without counters, before the parameters are looked at (`EOPNOTSUPP`).

use paravane_abi::pmu::XENPMU_FLUSH;

use crate::case::{Case, Row};

/// The row.
pub const ROW: Row = Row::operation(
    "xenpmu_op",
    "flush",
    &[Case::refusal("no-counters", "parameters good and bad, without counters", |t| {
        super::refused(t, XENPMU_FLUSH)
    })],
);
