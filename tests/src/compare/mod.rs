//! What each operation costs on each machine: the list, and how a machine is asked.

pub mod operations;
pub mod rows;

use crate::driver::{Driver, Stdin};
use crate::scenario::{Context, LIMIT};
use anyhow::{Result, bail};
use operations::Machine;
use rows::Row;

/// Boots a machine and has its guest count everything.
///
/// # Errors
///
/// The run failed, or its lines cannot be read.
pub fn observe(context: &Context, machine: Machine) -> Result<Vec<Row>> {
    // Nobody types: when a byte comes would be the host's doing, and the counts of long operations show it.
    let common = ["--icount", "--guest", "pv-guest,extra=role=compare"];
    let mut driver = Driver::start(context.qemu(&[machine.arguments(), &common].concat()), Stdin::Null)?;
    let status = driver.finish(LIMIT)?;
    let lines = driver.console.lines();
    let done = lines.iter().any(|line| line == rows::DONE);
    if !status.success() || !done {
        bail!("{} ended with {status}; printed last:\n{}", machine.name(), driver.tail());
    }
    rows::parse(lines, machine)
}
