//! What was counted: the guest's lines, and the table that they fill.

use super::operations::{Machine, Operation, named};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;

/// What an operation cost on a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub operation: &'static str,
    /// The machine.
    pub machine: Machine,
    /// Instructions, those of the hypervisor included.
    pub instructions: u64,
    /// What the hypervisor counted, where it does.
    pub counted: Option<Counted>,
}

/// What the hypervisor counted for an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Entries into it, by reason.
    pub entries: BTreeMap<String, u64>,
    /// Loads of CR3.
    pub cr3_loads: u64,
    /// Flushes, of one translation or of all.
    pub flushes: u64,
}

/// What begins a line of counts.
const LINE: &str = "compare ";
/// The guest's word that no line is to follow.
pub const DONE: &str = "compare: done";

/// The rows among a console's lines: `compare OPERATION instructions=N [entries.REASON=N]... [cr3=N] [flushes=N]`.
///
/// # Errors
///
/// A line that cannot be read, names an operation that is not in the list, or repeats one.
pub fn parse(lines: &[String], machine: Machine) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    for line in lines {
        let Some(words) = line.strip_prefix(LINE).filter(|words| words.contains(" instructions=")) else {
            continue;
        };
        let row = row(words, machine).with_context(|| format!("on {}: {line}", machine.name()))?;
        if rows.iter().any(|other| other.operation == row.operation) {
            bail!("{} was counted twice on {}", row.operation, machine.name());
        }
        rows.push(row);
    }
    Ok(rows)
}

fn row(words: &str, machine: Machine) -> Result<Row> {
    let mut words = words.split_whitespace();
    let name = words.next().unwrap_or_default();
    let operation = named(name).with_context(|| format!("no operation is named {name}"))?.name;
    let (mut instructions, mut counted) = (None, None);
    for word in words {
        let (key, number) = word.split_once('=').with_context(|| format!("{word} is no count"))?;
        let number: u64 = number.parse().with_context(|| format!("{word} is no count"))?;
        if key == "instructions" {
            instructions = Some(number);
            continue;
        }
        let counted: &mut Counted = counted.get_or_insert_default();
        match (key, key.strip_prefix("entries.")) {
            (_, Some(reason)) => _ = counted.entries.insert(reason.to_owned(), number),
            ("cr3", _) => counted.cr3_loads = number,
            ("flushes", _) => counted.flushes = number,
            _ => bail!("nothing is counted as {key}"),
        }
    }
    let instructions = instructions.context("instructions are missing")?;
    Ok(Row { operation, machine, instructions, counted })
}

/// A place of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// Counted.
    Counted(&'a Row),
    /// Not to be had there, and why.
    Absent(&'static str),
    /// It should be there.
    Missing,
}

/// What stands at an operation and a machine.
#[must_use]
pub fn cell<'a>(rows: &'a [Row], operation: &Operation, machine: Machine) -> Cell<'a> {
    let found = rows.iter().find(|row| row.operation == operation.name && row.machine == machine);
    match (found, operation.absent_on(machine)) {
        (Some(row), _) => Cell::Counted(row),
        (None, Some(reason)) => Cell::Absent(reason),
        (None, None) => Cell::Missing,
    }
}

/// What is wrong with the rows of these operations on these machines, a line each: a cell that is missing, or is there
/// although the list says that it cannot be; counts that a machine should have and has not, or the other way.
#[must_use]
pub fn faults(rows: &[Row], operations: &[&Operation], machines: &[Machine]) -> Vec<String> {
    let mut faults = Vec::new();
    for operation in operations {
        for &machine in machines {
            let place = format!("{} on {}", operation.name, machine.name());
            match cell(rows, operation, machine) {
                Cell::Missing => faults.push(format!("{place}: missing")),
                Cell::Counted(_) if operation.absent_on(machine).is_some() => {
                    faults.push(format!("{place}: counted, though the list says n/a"));
                }
                Cell::Counted(row) if row.counted.is_some() == machine.uncounted().is_some() => {
                    let what = if row.counted.is_some() { "counted, though" } else { "not counted, but" };
                    faults.push(format!("{place}: entries are {what} the list says otherwise"));
                }
                _ => {}
            }
        }
    }
    faults
}

/// Where two runs differ, a line each.
#[must_use]
pub fn differences(first: &[Row], second: &[Row]) -> Vec<String> {
    let find = |rows: &[Row], row: &Row| {
        rows.iter().find(|other| (other.operation, other.machine) == (row.operation, row.machine)).cloned()
    };
    let changed = first.iter().filter(|row| find(second, row).as_ref() != Some(row));
    let added = second.iter().filter(|row| find(first, row).is_none());
    let words = |row: Option<&Row>| match row {
        Some(Row { instructions, counted: Some(counted), .. }) => format!("{instructions} {counted:?}"),
        Some(row) => row.instructions.to_string(),
        None => "nothing".to_owned(),
    };
    changed
        .chain(added)
        .map(|row| {
            let both = [first, second].map(|rows| words(find(rows, row).as_ref()));
            format!("{} on {}: {}, then {}", row.operation, row.machine.name(), both[0], both[1])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    const SOME: &str = "\
/ # compare
compare null-syscall instructions=35 entries.hypercall=0 entries.exception=0 cr3=0 flushes=0
compare int3 instructions=2100 entries.hypercall=1 entries.exception=1 cr3=4 flushes=0
compare: done";

    #[test]
    fn lines_are_read() {
        let rows = parse(&lines(SOME), Machine::PvRing1).unwrap();
        assert_eq!(rows.iter().map(|row| row.operation).collect::<Vec<_>>(), ["null-syscall", "int3"]);
        let counted = rows[1].counted.as_ref().unwrap();
        assert_eq!((rows[1].instructions, counted.cr3_loads, counted.flushes), (2100, 4, 0));
        assert_eq!(counted.entries["exception"], 1);
        let bare = parse(&lines("compare in instructions=7"), Machine::Xen).unwrap();
        assert_eq!((bare[0].instructions, bare[0].counted.is_none()), (7, true));
    }

    #[test]
    fn bad_lines_are_refused() {
        for (line, wrong) in [
            ("compare tea instructions=1", "no operation is named tea"),
            ("compare in instructions=many", "is no count"),
            ("compare in instructions=1 milk=2", "nothing is counted as milk"),
            ("compare in instructions=1 milk", "is no count"),
            ("compare in instructions=1\ncompare in instructions=1", "counted twice"),
        ] {
            let error = format!("{:#}", parse(&lines(line), Machine::Xen).unwrap_err());
            assert!(error.contains(wrong), "{line}: {error}");
        }
    }

    #[test]
    fn a_gap_is_a_fault_and_a_reason_is_none() {
        let rows = parse(&lines(SOME), Machine::PvRing1).unwrap();
        let operations = ["null-syscall", "int3", "null-hypercall"].map(|name| named(name).unwrap());
        assert_eq!(faults(&rows, &operations[..2], &[Machine::PvRing1]), [""; 0]);
        assert_eq!(faults(&rows, &operations, &[Machine::PvRing1]), ["null-hypercall on pv-ring1: missing"]);
        assert_eq!(faults(&[], &operations[2..], &[Machine::Native, Machine::Trap]), [""; 0]);
        assert_eq!(cell(&[], operations[2], Machine::Native), Cell::Absent("there is no hypervisor"));
        let wrong = Row { machine: Machine::Native, operation: "null-hypercall", ..rows[0].clone() };
        assert_eq!(faults(&[wrong], &operations[2..], &[Machine::Native]).len(), 1);
        // Entries that nobody can have counted, and entries that nobody counted.
        let xen = Row { machine: Machine::Xen, ..rows[0].clone() };
        assert_eq!(faults(&[xen], &operations[..1], &[Machine::Xen]).len(), 1);
        let bare = Row { counted: None, ..rows[0].clone() };
        assert_eq!(faults(&[bare], &operations[..1], &[Machine::PvRing1]).len(), 1);
    }

    #[test]
    fn runs_differ_where_they_do() {
        let rows = parse(&lines(SOME), Machine::PvRing1).unwrap();
        assert_eq!(differences(&rows, &rows), [""; 0]);
        let mut other = rows.clone();
        other[0].instructions += 1;
        assert_eq!(differences(&rows, &other).len(), 1);
        assert_eq!(differences(&rows, &rows[..1]).len(), 1);
        assert_eq!(differences(&rows[..1], &rows).len(), 1);
    }
}
