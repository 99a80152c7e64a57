//! The ABI beyond hypercalls: a file for each topic.

pub mod clock;
pub mod cpuid_of;
pub mod gdt;
pub mod port;

mod console_ring;
mod cpuid;
mod debug_exceptions;
mod emulated;
mod event_frames;
mod exception_frames;
mod failsafe;
mod fifo_events;
mod floating_point;
mod flush_visibility;
mod grants_between_domains;
mod hypercall_entry;
mod interdomain_events;
mod iret_variants;
mod masking;
mod msrs;
mod multicall_semantics;
mod observations;
mod page_table_rules;
mod ring1;
mod segments;
mod shared_info;
mod stacks;
mod start_of_day;
mod syscall_callbacks;
mod time;
mod unknown_hypercalls;
mod vcpu_bring_up;

use crate::case::Row;

pub use observations::ROW as OBSERVATIONS;

/// The rows of each topic, in the order in which they run: first those that look at what the builder left.
pub const ALL: &[&[&Row]] = &[
    &[&OBSERVATIONS],
    &[&start_of_day::ROW],
    &[&shared_info::ROW],
    // Before a reset of event channels takes the console's port away.
    &[&console_ring::ROW],
    // Before anything gives vcpu 1 its first registers.
    &[&failsafe::ROW],
    &[&vcpu_bring_up::ROW],
    exception_frames::ROWS,
    &[&event_frames::ROW],
    &[&fifo_events::ROW],
    iret_variants::ROWS,
    &[&syscall_callbacks::ROW],
    &[&stacks::ROW],
    emulated::ROWS,
    &[&hypercall_entry::ROW],
    &[&debug_exceptions::ROW],
    &[&cpuid::ROW],
    &[&msrs::ROW],
    &[&segments::ROW],
    &[&time::ROW],
    &[&floating_point::ROW],
    ring1::ROWS,
    &[&masking::ROW],
    &[&interdomain_events::ROW],
    grants_between_domains::ROWS,
    &[&unknown_hypercalls::ROW],
    page_table_rules::ROWS,
    flush_visibility::ROWS,
    &[&multicall_semantics::ROW],
];
