//! What was counted, for other programs.

use anyhow::{Context, Result};
use paravane_tests::compare::rows::Row;
use serde_json::{Value, json};

/// A list with an object for each cell that was counted.
pub fn of(rows: &[Row]) -> Result<String> {
    let list: Vec<Value> = rows
        .iter()
        .map(|row| {
            let counted = &row.counted;
            json!({
                "operation": row.operation,
                "machine": row.machine.name(),
                "instructions": row.instructions,
                "entries": counted.entries,
                "cr3_loads": counted.cr3_loads,
                "flushes": counted.flushes,
            })
        })
        .collect();
    let mut text = serde_json::to_string_pretty(&list).context("writing JSON")?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_tests::compare::operations::Machine;
    use paravane_tests::compare::rows::Counted;
    use std::collections::BTreeMap;

    #[test]
    fn each_cell_has_its_counts() {
        let entries = BTreeMap::from([("#BP".to_owned(), 1)]);
        let counted = Counted { entries, cr3_loads: 2, flushes: 3 };
        let row = Row { operation: "int3", machine: Machine::PvRing1, instructions: 9, counted };
        let bare = Row { machine: Machine::Native, counted: Counted::default(), ..row.clone() };
        let list: Vec<Value> = serde_json::from_str(&of(&[row, bare]).unwrap()).unwrap();
        assert_eq!(
            list,
            [
                json!({"operation": "int3", "machine": "pv-ring1", "instructions": 9,
                       "entries": {"#BP": 1}, "cr3_loads": 2, "flushes": 3}),
                json!({"operation": "int3", "machine": "native", "instructions": 9,
                       "entries": {}, "cr3_loads": 0, "flushes": 0}),
            ]
        );
    }
}
