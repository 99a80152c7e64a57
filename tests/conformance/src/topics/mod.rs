//! The ABI beyond hypercalls: a file for each topic.

pub mod gdt;

mod exception_frames;
mod observations;
mod unknown_hypercalls;
mod vcpu_bring_up;

use crate::case::Row;

pub use observations::ROW as OBSERVATIONS;

/// The rows of each topic, in the order in which they run: first those that look at what the builder left.
pub const ALL: &[&[&Row]] =
    &[&[&OBSERVATIONS], &[&vcpu_bring_up::ROW], exception_frames::ROWS, &[&unknown_hypercalls::ROW]];
