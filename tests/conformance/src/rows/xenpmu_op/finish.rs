//! `xenpmu_op(finish, parameters)`, sub-operation 5 (xen/include/public/pmu.h). Takes the page of a vcpu's counters back.
//!
//! Refused: without counters, before the parameters are looked at (`EOPNOTSUPP`).

use paravane_abi::pmu::XENPMU_FINISH;

use crate::case::{Case, Row};

/// The row.
pub const ROW: Row = Row::operation(
    "xenpmu_op",
    "finish",
    &[Case::refusal("no-counters", "parameters good and bad, without counters", |t| {
        super::refused(t, XENPMU_FINISH)
    })],
);
