//! The table: operations down, machines across.

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use paravane_tests::compare::operations::{Machine, Operation};
use paravane_tests::compare::rows::{Cell, Row, cell};

/// All cells. Each shows instructions, the ratio to native where that was counted, and where the hypervisor counts its
/// entries, the loads of CR3 and the flushes.
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
    if let Some(counted) = &row.counted {
        let entries = counted.entries.iter().filter(|(_, count)| **count > 0);
        let entries: Vec<String> = entries.map(|(reason, count)| format!("{count} {reason}")).collect();
        let entries = if entries.is_empty() { "no entry".to_owned() } else { entries.join(", ") };
        text += &format!("\n{entries}; cr3 {}, flush {}", counted.cr3_loads, counted.flushes);
    }
    text
}

/// The reasons for what is not there, a line each.
pub fn reasons(operations: &[&Operation], machines: &[Machine]) -> Vec<String> {
    let absent = operations.iter().flat_map(|operation| {
        let on = |machine: &Machine| {
            let reason = operation.absent_on(*machine)?;
            Some(format!("n/a {} on {}: {reason}", operation.name, machine.name()))
        };
        machines.iter().filter_map(on)
    });
    let uncounted = machines.iter().filter_map(|machine| {
        let reason = machine.uncounted()?;
        Some(format!("n/a entries, cr3 and flushes on {}: {reason}", machine.name()))
    });
    absent.chain(uncounted).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_tests::compare::operations::named;
    use paravane_tests::compare::rows::Counted;
    use std::collections::BTreeMap;

    #[test]
    fn cells_are_counts_ratios_and_reasons() {
        let row =
            |operation, machine, instructions, counted| Row { operation, machine, instructions, counted };
        let entries = BTreeMap::from([("exception".to_owned(), 1), ("hypercall".to_owned(), 0)]);
        let rows = [
            row("int3", Machine::Native, 40, None),
            row("int3", Machine::PvRing1, 2050, Some(Counted { entries, cr3_loads: 2, flushes: 0 })),
            row("null-syscall", Machine::PvRing1, 35, Some(Counted::default())),
        ];
        let operations = ["int3", "null-syscall", "null-hypercall"].map(|name| named(name).unwrap());
        let machines = [Machine::Native, Machine::PvRing1];
        let text = of(&rows, &operations, &machines).to_string();
        assert!(text.contains("2050 (51.2x)") && text.contains("1 exception; cr3 2, flush 0"), "{text}");
        assert!(text.contains("no entry; cr3 0"), "{text}");
        assert!(text.contains("n/a") && text.contains("MISSING"), "{text}");
        let reasons = reasons(&operations, &machines);
        assert!(
            reasons.contains(&"n/a null-hypercall on native: there is no hypervisor".to_owned()),
            "{reasons:?}"
        );
        assert_eq!(reasons.len(), 2);
    }
}
