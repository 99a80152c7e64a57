//! The book's tables of counts, made from `docs/compare.json`, which `cargo xtask compare --json docs/compare.json` writes.
//!
//! A page says by a comment which table it wants, and the table stands between that comment and its end:
//!
//! ```text
//! <!-- compare: machines OPERATION... -->      operations down, machines across: instructions, and how many times native's
//! <!-- compare: machine NAME OPERATION... -->  one machine: instructions, entries, loads of CR3, flushes
//! <!-- compare: adams-agesen -->               the rows of their nanobenchmarks, and ours
//! <!-- /compare -->
//! ```
//!
//! Without an operation a table has all of them.

use crate::number::grouped;
use anyhow::{Context, Result, bail};
use paravane_tests::compare::json;
use paravane_tests::compare::operations::{Machine, OPERATIONS, Operation, named};
use paravane_tests::compare::rows::{Cell, Row, cell};
use paravane_tests::source;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the counts are, from the root of the work tree.
const COUNTS: &str = "docs/compare.json";

const BEGIN: &str = "<!-- compare: ";
const END: &str = "<!-- /compare -->";

/// The nanobenchmarks of K. Adams and O. Agesen, "A Comparison of Software and Hardware Techniques for x86 Virtualization"
/// (ASPLOS 2006), section 6.3: their name, and the operations of ours that come nearest.
const NANOBENCHMARKS: [(&str, &[&str]); 7] = [
    ("syscall", &["null-syscall"]),
    ("in", &["in"]),
    ("cr8wr", &["cr-write"]),
    ("call/ret", &[]),
    ("pgfault", &["kernel-page-fault", "user-page-fault"]),
    ("divzero", &["divide-error"]),
    ("ptemod", &["pte-write", "pte-write-batch"]),
];

/// Reads what was counted, of a work tree.
pub fn counts(root: &Path) -> Result<Vec<Row>> {
    let path = root.join(COUNTS);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    json::read(&text).with_context(|| format!("in {}", path.display()))
}

/// A cell; `None` where the list says that there is none.
fn get<'a>(rows: &'a [Row], operation: &Operation, machine: Machine) -> Result<Option<&'a Row>> {
    match cell(rows, operation, machine) {
        Cell::Counted(row) => Ok(Some(row)),
        Cell::Absent(_) => Ok(None),
        Cell::Missing => bail!("{} on {} was not counted", operation.name, machine.name()),
    }
}

/// The pages of the book that have such tables.
pub fn pages(root: &Path) -> Vec<PathBuf> {
    let has = |path: &PathBuf| fs::read_to_string(path).is_ok_and(|text| text.lines().any(is_begin));
    source::files(&root.join("docs"), &[".md"]).into_iter().filter(has).collect()
}

fn is_begin(line: &str) -> bool {
    line.starts_with(BEGIN) && line.ends_with(" -->")
}

/// A page with its tables made anew.
pub fn remade(page: &str, rows: &[Row]) -> Result<String> {
    let mut text = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        text += &format!("{line}\n");
        if !is_begin(line) {
            continue;
        }
        let wish = line[BEGIN.len()..].trim_end_matches("-->").trim();
        text += &format!("\n{}\n{END}\n", table(wish, rows).with_context(|| format!("for {line}"))?);
        if !lines.any(|line| line == END) {
            bail!("{line} has no {END}");
        }
    }
    Ok(text)
}

fn table(wish: &str, rows: &[Row]) -> Result<String> {
    let words: Vec<&str> = wish.split_whitespace().collect();
    match words.as_slice() {
        ["machines", names @ ..] => machines(&operations(names)?, rows),
        ["machine", name, names @ ..] => {
            let machine = Machine::named(name).with_context(|| format!("no machine is named {name}"))?;
            one_machine(machine, &operations(names)?, rows)
        }
        ["adams-agesen"] => adams_agesen(rows),
        _ => bail!("there is no such table"),
    }
}

fn operations(names: &[&str]) -> Result<Vec<&'static Operation>> {
    if names.is_empty() {
        return Ok(OPERATIONS.iter().collect());
    }
    names.iter().map(|name| named(name).with_context(|| format!("no operation is named {name}"))).collect()
}

/// How many times `base` a count is: whole from 10 on, else with tenths, rounded down.
fn times(count: u64, base: u64) -> String {
    let tenths = count.saturating_mul(10) / base.max(1);
    if tenths >= 100 {
        format!("{}x", grouped(tenths / 10))
    } else {
        format!("{}.{}x", tenths / 10, tenths % 10)
    }
}

/// The head of a table: its columns, of words and then of numbers.
fn head(words: &[&str], numbers: &[&str]) -> String {
    let rules = [vec!["---"; words.len()], vec!["--:"; numbers.len()]].concat();
    format!("| {} |\n| {} |\n", [words, numbers].concat().join(" | "), rules.join(" | "))
}

/// Instructions on each machine.
fn across(operation: &Operation, rows: &[Row]) -> Result<Vec<String>> {
    let native = get(rows, operation, Machine::Native)?.map(|row| row.instructions);
    Machine::ALL
        .into_iter()
        .map(|machine| {
            let Some(row) = get(rows, operation, machine)? else { return Ok("n/a".to_owned()) };
            let number = grouped(row.instructions);
            Ok(match native {
                Some(native) if machine != Machine::Native => {
                    format!("{number} ({})", times(row.instructions, native))
                }
                _ => number,
            })
        })
        .collect()
}

fn machines(operations: &[&Operation], rows: &[Row]) -> Result<String> {
    let mut text = head(&["operation"], &Machine::ALL.map(Machine::name));
    for operation in operations {
        text += &format!("| `{}` | {} |\n", operation.name, across(operation, rows)?.join(" | "));
    }
    Ok(text)
}

fn one_machine(machine: Machine, operations: &[&Operation], rows: &[Row]) -> Result<String> {
    let mut text = head(&["operation"], &["instructions", "to native", "entries", "CR3 loads", "flushes"]);
    for operation in operations {
        let Some(row) = get(rows, operation, machine)? else { continue };
        let native = get(rows, operation, Machine::Native)?.map(|native| native.instructions);
        let cells = [
            grouped(row.instructions),
            native.map_or_else(|| "n/a".to_owned(), |native| times(row.instructions, native)),
            reasons(&row.counted.entries),
            grouped(row.counted.cr3_loads),
            grouped(row.counted.flushes),
        ];
        text += &format!("| `{}` | {} |\n", operation.name, cells.join(" | "));
    }
    Ok(text)
}

fn reasons(entries: &BTreeMap<String, u64>) -> String {
    let some: Vec<String> = entries
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{} {reason}", grouped(*count)))
        .collect();
    if some.is_empty() { "none".to_owned() } else { some.join(", ") }
}

fn adams_agesen(rows: &[Row]) -> Result<String> {
    let mut text = head(&["theirs", "ours"], &Machine::ALL.map(Machine::name));
    for (theirs, ours) in NANOBENCHMARKS {
        if ours.is_empty() {
            text += &format!("| {theirs} | none |{}\n", " n/a |".repeat(Machine::ALL.len()));
        }
        for operation in operations(ours)?.iter().filter(|_| !ours.is_empty()) {
            let cells = across(operation, rows)?.join(" | ");
            text += &format!("| {theirs} | `{}` | {cells} |\n", operation.name);
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_tests::compare::rows::Counted;

    fn sample() -> Vec<Row> {
        let cells = OPERATIONS
            .iter()
            .flat_map(|operation| Machine::ALL.map(|machine| (operation, machine)))
            .filter(|(operation, machine)| operation.absent_on(*machine).is_none());
        let row = |(operation, machine): (&Operation, Machine)| {
            let instructions = match machine {
                Machine::Native => 40,
                Machine::PvRing1 => 42,
                Machine::PvRing3 => 1234,
                Machine::Trap => 5_678_901,
                Machine::Xen => 724,
            };
            let entries = BTreeMap::from([("exception".to_owned(), 1), ("hypercall".to_owned(), 0)]);
            let counted = Counted { entries, cr3_loads: 2, flushes: 1000 };
            Row { operation: operation.name, machine, instructions, counted }
        };
        cells.map(row).collect()
    }

    #[test]
    fn the_book_is_current() {
        let root = source::root();
        let rows = counts(root).unwrap_or_else(|error| panic!("{error:#}"));
        let pages = pages(root);
        assert!(
            pages.len() > 5,
            "only {} pages have tables: the search looks in the wrong place",
            pages.len()
        );
        let mut stale = Vec::new();
        for path in &pages {
            let text = fs::read_to_string(path).unwrap();
            let made = remade(&text, &rows).unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
            if made != text {
                stale.push(path.display().to_string());
            }
        }
        let stale = stale.join(", ");
        assert!(stale.is_empty(), "not what {COUNTS} says: {stale}; remake them: cargo xtask figures");
    }

    #[test]
    fn tables_are_made_where_they_are_asked_for() {
        let page = "a\n<!-- compare: machines int3 null-hypercall -->\nstale\n<!-- /compare -->\nb\n";
        let made = remade(page, &sample()).unwrap();
        assert!(
            made.starts_with("a\n<!-- compare: machines int3 null-hypercall -->\n\n| operation | native |"),
            "{made}"
        );
        assert!(
            made.contains("| `int3` | 40 | 42 (1.0x) | 1,234 (30x) | 5,678,901 (141,972x) | 724 (18x) |"),
            "{made}"
        );
        assert!(made.contains("| `null-hypercall` | n/a | 42 | 1,234 | n/a | 724 |"), "{made}");
        assert!(made.ends_with("|\n\n<!-- /compare -->\nb\n") && !made.contains("stale"), "{made}");
        assert_eq!(remade(&made, &sample()).unwrap(), made, "made once, it stays");
    }

    #[test]
    fn a_machine_shows_its_entries() {
        let made = table("machine trap in", &sample()).unwrap();
        assert!(made.contains("| `in` | 5,678,901 | 141,972x | 1 exception | 2 | 1,000 |"), "{made}");
        let all = table("machine native", &sample()).unwrap();
        assert_eq!(all.lines().count(), OPERATIONS.len() - 1 + 2, "{all}");
    }

    #[test]
    fn their_table_has_their_rows() {
        let made = table("adams-agesen", &sample()).unwrap();
        for (theirs, _) in NANOBENCHMARKS {
            assert!(made.contains(&format!("| {theirs} |")), "{made}");
        }
        assert!(made.contains("| call/ret | none | n/a | n/a | n/a | n/a | n/a |"), "{made}");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (page, wrong) in [
            ("<!-- compare: tea -->\n<!-- /compare -->", "no such table"),
            ("<!-- compare: machine vax -->\n<!-- /compare -->", "no machine is named vax"),
            ("<!-- compare: machines tea -->\n<!-- /compare -->", "no operation is named tea"),
            ("<!-- compare: machines int3 -->\n", "has no <!-- /compare -->"),
        ] {
            let error = format!("{:#}", remade(page, &sample()).unwrap_err());
            assert!(error.contains(wrong), "{page}: {error}");
        }
        let error = format!("{:#}", table("machines int3", &[]).unwrap_err());
        assert!(error.contains("int3 on native was not counted"), "{error}");
    }
}
