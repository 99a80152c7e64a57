//! The cases.

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

use crate::case::Case;

/// All of them, in the order in which they run: first those that look at what the builder left.
pub const ALL: &[Case] = &[
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
