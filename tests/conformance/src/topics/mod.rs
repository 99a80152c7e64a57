//! The ABI beyond hypercalls: a file for each topic.

pub mod clock;
pub mod cpuid_of;
pub mod gdt;
pub mod port;

mod debug_exceptions;
mod emulated;
mod event_frames;
mod exception_frames;
mod fifo_events;
mod floating_point;
mod flush_visibility;
mod hypercall_entry;
mod iret_variants;
mod multicall_semantics;
mod observations;
mod page_table_rules;
mod ring1;
mod stacks;
mod syscall_callbacks;
mod unknown_hypercalls;
mod vcpu_bring_up;

use crate::case::Row;

pub use observations::ROW as OBSERVATIONS;

/// The rows of each topic, in the order in which they run: first those that look at what the builder left.
pub const ALL: &[&[&Row]] = &[
    &[&OBSERVATIONS],
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
    &[&floating_point::ROW],
    ring1::ROWS,
    &[&unknown_hypercalls::ROW],
    page_table_rules::ROWS,
    flush_visibility::ROWS,
    &[&multicall_semantics::ROW],
];
