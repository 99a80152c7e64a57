//! What a guest sees of its hypervisor, value by value: these cases ask for nothing, they are for comparison. They run as
//! the first domain, which every Xen starts by itself (`docs/oracle.md`).

mod codes;
mod control;
mod cpuid;
mod debug_registers;
mod descriptors;
mod entries;
mod entry_registers;
mod exceptions;
mod iret;
mod msrs;
mod segments;
mod start_of_day;

use crate::case::{Case, Rings, Role, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row { call: "observations", operation: None, no_refusal: None, cases: CASES };

/// In the order in which they run: first those that look at what the builder left.
const CASES: &[Case] = &[
    entry_registers::CASE,
    start_of_day::CASE,
    codes::CASE,
    entries::CASE,
    exceptions::CASE,
    iret::CASE,
    segments::CASE,
    cpuid::CASE,
    debug_registers::CASE,
    descriptors::CASE,
    msrs::CASE,
    control::CASE,
];

const fn observation(name: &'static str, about: &'static str, run: fn(&mut Trial) -> Verdict) -> Case {
    Case::good(name, about, run).role(Role::Dom0).rings(Rings::Three("it observes what Xen's guests see"))
}
