//! `xenpmu_op(init, parameters)`, sub-operation 4 (xen/include/public/pmu.h). Gives the hypervisor a page for a vcpu's counters.
//!
//! Refused: without counters, before the parameters are looked at (`EOPNOTSUPP`).

use paravane_abi::pmu::XENPMU_INIT;

use crate::case::{Case, Row};

/// The row.
pub const ROW: Row = Row::operation(
    "xenpmu_op",
    "init",
    &[Case::refusal("no-counters", "parameters good and bad, without counters", |t| {
        super::refused(t, XENPMU_INIT)
    })],
);
