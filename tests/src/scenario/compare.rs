//! The comparison: every cell is filled, theory's orders hold, and the counts that the book shows are still those.

use super::{Context, Outcome};
use crate::compare::operations::{Machine, OPERATIONS, Operation};
use crate::compare::rows::{self, Row};
use crate::compare::{json, observe, theory};
use crate::source;
use anyhow::{Context as _, Result, bail};

/// The counts in the book, and what remakes them.
const BOOK: &str = "docs/compare.json";
const REMADE_BY: &str = "cargo xtask compare --json docs/compare.json && cargo xtask figures";

/// How far a count may lie from the book's, in parts of a hundred. A change to the code moves counts by a few; one that moves
/// them further is to be told, and the book remade.
const PER_CENT: u64 = 10;
/// Operations of at most so many entries have exactly the book's: an entry more is another path.
const FEW_ENTRIES: u64 = 4;

/// A bare machine and the kernel in ring 1.
pub fn two(context: &Context) -> Result<Outcome> {
    let rows = count(context, &[Machine::Native, Machine::PvRing1])?;
    current(&rows)?;
    Ok(Outcome::Passed(format!("{} cells, as in the book", rows.len())))
}

/// All machines, twice.
pub fn all(context: &Context) -> Result<Outcome> {
    let first = count(context, &Machine::ALL)?;
    let second = count(context, &Machine::ALL)?;
    let differences = rows::differences(&first, &second);
    if !differences.is_empty() {
        bail!("two runs differ:\n{}", differences.join("\n"));
    }
    current(&first)?;
    Ok(Outcome::Passed(format!("{} cells, twice the same, as in the book", first.len())))
}

/// Counts everything; each cell must be there and each order hold.
fn count(context: &Context, machines: &[Machine]) -> Result<Vec<Row>> {
    let operations: Vec<&Operation> = OPERATIONS.iter().collect();
    let mut counted = Vec::new();
    for &machine in machines {
        counted.extend(observe(context, machine, &operations)?);
    }
    let mut faults = rows::faults(&counted, &operations, machines);
    faults.extend(theory::broken(&counted));
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    Ok(counted)
}

/// Whether the book still says what is counted.
fn current(rows: &[Row]) -> Result<()> {
    let text =
        std::fs::read_to_string(source::root().join(BOOK)).with_context(|| format!("reading {BOOK}"))?;
    let stale = stale(rows, &json::read(&text)?);
    if !stale.is_empty() {
        bail!("the book says something else; remade by: {REMADE_BY}\n{}", stale.join("\n"));
    }
    Ok(())
}

/// Rows that the book does not have, or has with other counts, a line each.
fn stale(rows: &[Row], book: &[Row]) -> Vec<String> {
    let of = |row: &Row| {
        let place = format!("{} on {}", row.operation, row.machine.name());
        let its = book.iter().find(|other| (other.operation, other.machine) == (row.operation, row.machine));
        let Some(its) = its else { return Some(format!("{place} is not in the book")) };
        let few = its.counted.entries.values().sum::<u64>() <= FEW_ENTRIES;
        if few && its.counted != row.counted {
            return Some(format!("{place}: {:?}, in the book {:?}", row.counted, its.counted));
        }
        let distance = row.instructions.abs_diff(its.instructions);
        // Of a handful of instructions one more is many in a hundred.
        (distance * 100 > its.instructions.max(100) * PER_CENT)
            .then(|| format!("{place}: {} instructions, in the book {}", row.instructions, its.instructions))
    };
    rows.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::rows::Counted;

    #[test]
    fn counts_may_move_a_little() {
        let row = |instructions, cr3_loads| Row {
            operation: "int3",
            machine: Machine::Xen,
            instructions,
            counted: Counted { cr3_loads, ..Counted::default() },
        };
        assert_eq!(stale(&[row(1049, 2)], &[row(1000, 2)]), [""; 0]);
        assert_eq!(stale(&[row(12, 2)], &[row(3, 2)]), [""; 0]);
        assert_eq!(stale(&[row(1200, 2)], &[row(1000, 2)]).len(), 1);
        assert_eq!(stale(&[row(1000, 4)], &[row(1000, 2)]).len(), 1);
        assert_eq!(stale(&[row(1000, 2)], &[]).len(), 1);
    }
}
