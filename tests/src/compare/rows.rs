//! What was counted: the guest's lines, and the table that they fill.

use super::operations::{Machine, Operation, named};
use crate::trace::timeline::Timeline;
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
    /// What else was counted.
    pub counted: Counted,
}

/// What the emulator's log shows of an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Entries into the hypervisor, by reason. None where there is no hypervisor.
    pub entries: BTreeMap<String, u64>,
    /// Loads of CR3.
    pub cr3_loads: u64,
    /// Other instructions that make the processor forget translations: `invlpg`, `invpcid`, a load of CR4.
    pub flushes: u64,
}

impl From<&Timeline> for Row {
    fn from(timeline: &Timeline) -> Self {
        Self {
            operation: timeline.operation,
            machine: timeline.machine,
            instructions: timeline.instructions(),
            counted: Counted {
                entries: timeline.entries(),
                cr3_loads: timeline.cr3_loads(),
                flushes: timeline.flushes(),
            },
        }
    }
}

/// What the guest counted of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Its name.
    pub operation: &'static str,
    /// Instructions.
    pub instructions: u64,
    /// Instructions of calling it and of looking at the counter, which are taken off already.
    pub looking: u64,
}

/// What begins a line of counts.
const LINE: &str = "compare ";
/// The guest's word that no line is to follow.
pub const DONE: &str = "compare: done";

/// The counts among a console's lines: `compare OPERATION instructions=N looking=N`.
///
/// # Errors
///
/// A line that cannot be read, names an operation that is not in the list, or repeats one.
pub fn parse(lines: &[String], machine: Machine) -> Result<Vec<Counts>> {
    let mut counts: Vec<Counts> = Vec::new();
    for line in lines {
        let Some(words) = line.strip_prefix(LINE).filter(|words| words.contains(" instructions=")) else {
            continue;
        };
        let count = count(words).with_context(|| format!("on {}: {line}", machine.name()))?;
        if counts.iter().any(|other| other.operation == count.operation) {
            bail!("{} was counted twice on {}", count.operation, machine.name());
        }
        counts.push(count);
    }
    Ok(counts)
}

fn count(words: &str) -> Result<Counts> {
    let mut words = words.split_whitespace();
    let name = words.next().unwrap_or_default();
    let operation = named(name).with_context(|| format!("no operation is named {name}"))?.name;
    let mut number = |key: &str| -> Result<u64> {
        let word = words.next().with_context(|| format!("{key} is missing"))?;
        let digits = word.strip_prefix(key).with_context(|| format!("{word} is not {key}"))?;
        digits.parse().with_context(|| format!("{word} is no count"))
    };
    let counts = Counts { operation, instructions: number("instructions=")?, looking: number("looking=")? };
    match words.next() {
        Some(word) => bail!("nothing is counted as {word}"),
        None => Ok(counts),
    }
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
/// although the list says that it cannot be.
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
        Some(Row { instructions, counted, .. }) => format!("{instructions} {counted:?}"),
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
compare null-syscall instructions=35 looking=6
compare int3 instructions=2100 looking=6
compare: done";

    fn rows() -> Vec<Row> {
        let row = |operation, instructions, reason: &str, cr3_loads, flushes| {
            let counted = Counted { entries: BTreeMap::from([(reason.to_owned(), 1)]), cr3_loads, flushes };
            Row { operation, machine: Machine::PvRing1, instructions, counted }
        };
        vec![row("null-syscall", 35, "syscall", 4, 0), row("int3", 2100, "#BP", 2, 1)]
    }

    #[test]
    fn lines_are_read() {
        let counts = parse(&lines(SOME), Machine::PvRing1).unwrap();
        assert_eq!(counts.iter().map(|count| count.operation).collect::<Vec<_>>(), ["null-syscall", "int3"]);
        assert_eq!((counts[1].instructions, counts[1].looking), (2100, 6));
    }

    #[test]
    fn bad_lines_are_refused() {
        for (line, wrong) in [
            ("compare tea instructions=1", "no operation is named tea"),
            ("compare in instructions=many", "is no count"),
            ("compare in instructions=1", "looking= is missing"),
            ("compare in instructions=1 milk=2", "milk=2 is not looking="),
            ("compare in instructions=1 looking=2 milk=3", "nothing is counted as milk"),
            ("compare in instructions=1 looking=2\ncompare in instructions=1 looking=2", "counted twice"),
        ] {
            let error = format!("{:#}", parse(&lines(line), Machine::Xen).unwrap_err());
            assert!(error.contains(wrong), "{line}: {error}");
        }
    }

    #[test]
    fn a_gap_is_a_fault_and_a_reason_is_none() {
        let rows = rows();
        let operations = ["null-syscall", "int3", "null-hypercall"].map(|name| named(name).unwrap());
        assert_eq!(faults(&rows, &operations[..2], &[Machine::PvRing1]), [""; 0]);
        assert_eq!(faults(&rows, &operations, &[Machine::PvRing1]), ["null-hypercall on pv-ring1: missing"]);
        assert_eq!(faults(&[], &operations[2..], &[Machine::Native, Machine::Trap]), [""; 0]);
        assert_eq!(cell(&[], operations[2], Machine::Native), Cell::Absent("there is no hypervisor"));
        let wrong = Row { machine: Machine::Native, operation: "null-hypercall", ..rows[0].clone() };
        assert_eq!(faults(&[wrong], &operations[2..], &[Machine::Native]).len(), 1);
    }

    #[test]
    fn runs_differ_where_they_do() {
        let rows = rows();
        assert_eq!(differences(&rows, &rows), [""; 0]);
        let changes: [fn(&mut Row); 5] = [
            |row| row.instructions += 1,
            |row| row.counted.cr3_loads += 1,
            |row| row.counted.flushes += 1,
            |row| *row.counted.entries.entry("syscall".to_owned()).or_default() += 1,
            |row| row.counted.entries.clear(),
        ];
        for change in changes {
            let mut other = rows.clone();
            change(&mut other[0]);
            let found = differences(&rows, &other);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with("null-syscall on pv-ring1: 35 "), "{found:?}");
        }
        assert_eq!(differences(&rows, &rows[..1]).len(), 1);
        assert_eq!(differences(&rows[..1], &rows).len(), 1);
    }
}
