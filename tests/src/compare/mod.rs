//! What each operation costs on each machine: the list, and how a machine is asked.

pub mod json;
pub mod operations;
pub mod rows;
pub mod theory;

use crate::scenario::Context;
use crate::trace::observe;
use anyhow::Result;
use operations::{Machine, Operation};
use rows::Row;

/// Boots a machine, has its guest do these operations, and counts.
///
/// # Errors
///
/// The run failed, or its lines or its log cannot be read.
pub fn observe(context: &Context, machine: Machine, operations: &[&Operation]) -> Result<Vec<Row>> {
    Ok(observe::observe(context, machine, operations)?.iter().map(Row::from).collect())
}
