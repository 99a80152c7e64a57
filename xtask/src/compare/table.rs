//! The table: operations down, machines across.

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use paravane_tests::compare::operations::{Machine, Operation};
use paravane_tests::compare::rows::{Cell, Row, cell};
use std::collections::BTreeMap;

/// Most reasons for entries that a cell names; the rest it sums.
const REASONS: usize = 3;

/// All cells. Each shows instructions, the ratio to native where that was counted, entries into the hypervisor by reason, loads
/// of CR3 and flushes.
pub fn of(rows: &[Row], operations: &[&Operation], machines: &[Machine]) -> Table {
    let mut table = Table::new();
    let names = machines.iter().map(|machine| machine.name());
    table.load_preset(UTF8_FULL_CONDENSED).set_header(["operation"].into_iter().chain(names));
    for operation in operations {
        let native = match cell(rows, operation, Machine::Native) {
            Cell::Counted(row) => Some(row.instructions),
            _ => None,
        };
        let cells = machines.iter().map(|&machine| shown(cell(rows, operation, machine), native));
        table.add_row([operation.name.to_owned()].into_iter().chain(cells));
    }
    table
}

fn shown(cell: Cell<'_>, native: Option<u64>) -> String {
    let row = match cell {
        Cell::Counted(row) => row,
        Cell::Absent(_) => return "n/a".to_owned(),
        Cell::Missing => return "MISSING".to_owned(),
    };
    let mut text = row.instructions.to_string();
    if let Some(native) = native.filter(|native| *native > 0 && row.machine != Machine::Native) {
        // Tenths, rounded down: counts are exact, and so is this.
        let tenths = row.instructions.saturating_mul(10) / native;
        text += &format!(" ({}.{}x)", tenths / 10, tenths % 10);
    }
    let counted = &row.counted;
    if row.machine != Machine::Native {
        text += &format!("\n{}", entries(&counted.entries));
    }
    text + &format!("\ncr3 {}, flush {}", counted.cr3_loads, counted.flushes)
}

/// The most frequent reasons, a line each.
fn entries(entries: &BTreeMap<String, u64>) -> String {
    let mut by_count: Vec<(&String, &u64)> = entries.iter().collect();
    by_count.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    let (named, rest) = by_count.split_at(by_count.len().min(REASONS));
    let mut lines: Vec<String> = named.iter().map(|(name, count)| format!("{count} {name}")).collect();
    if !rest.is_empty() {
        lines.push(format!("{} others", rest.iter().map(|(_, count)| **count).sum::<u64>()));
    }
    if lines.is_empty() { "no entry".to_owned() } else { lines.join("\n") }
}

/// The reasons for what is not there, a line each.
pub fn reasons(operations: &[&Operation], machines: &[Machine]) -> Vec<String> {
    let on = |operation: &Operation, machine: Machine| {
        let reason = operation.absent_on(machine)?;
        Some(format!("n/a {} on {}: {reason}", operation.name, machine.name()))
    };
    operations
        .iter()
        .flat_map(|operation| machines.iter().filter_map(move |machine| on(operation, *machine)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_tests::compare::operations::named;
    use paravane_tests::compare::rows::Counted;

    #[test]
    fn cells_are_counts_ratios_and_reasons() {
        let row =
            |operation, machine, instructions, counted| Row { operation, machine, instructions, counted };
        let entries = [("#BP", 7), ("#GP", 1), ("#PF", 2), ("interrupt", 1), ("syscall", 3)];
        let entries = BTreeMap::from(entries.map(|(name, count)| (name.to_owned(), count)));
        let rows = [
            row("int3", Machine::Native, 40, Counted::default()),
            row("int3", Machine::PvRing1, 2050, Counted { entries, cr3_loads: 2, flushes: 0 }),
            row("null-syscall", Machine::PvRing1, 35, Counted::default()),
        ];
        let operations = ["int3", "null-syscall", "null-hypercall"].map(|name| named(name).unwrap());
        let machines = [Machine::Native, Machine::PvRing1];
        let text = of(&rows, &operations, &machines).to_string();
        for part in [
            "2050 (51.2x)",
            "7 #BP",
            "3 syscall",
            "2 #PF",
            "2 others",
            "cr3 2, flush 0",
            "no entry",
            "n/a",
            "MISSING",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let reasons = reasons(&operations, &machines);
        assert_eq!(reasons, ["n/a null-hypercall on native: there is no hypervisor"]);
    }
}
