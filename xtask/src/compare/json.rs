//! What was counted, for other programs.

use anyhow::{Context, Result};
use paravane_tests::compare::rows::Row;
use serde_json::{Value, json};

/// A list with an object for each cell that was counted. What nobody counts is null.
pub fn of(rows: &[Row]) -> Result<String> {
    let list: Vec<Value> = rows
        .iter()
        .map(|row| {
            let counted = row.counted.as_ref();
            json!({
                "operation": row.operation,
                "machine": row.machine.name(),
                "instructions": row.instructions,
                "entries": counted.map(|counted| &counted.entries),
                "cr3_loads": counted.map(|counted| counted.cr3_loads),
                "flushes": counted.map(|counted| counted.flushes),
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
        let entries = BTreeMap::from([("exception".to_owned(), 1)]);
        let counted = Some(Counted { entries, cr3_loads: 2, flushes: 3 });
        let row = Row { operation: "int3", machine: Machine::PvRing1, instructions: 9, counted };
        let bare = Row { machine: Machine::Xen, counted: None, ..row.clone() };
        let list: Vec<Value> = serde_json::from_str(&of(&[row, bare]).unwrap()).unwrap();
        assert_eq!(
            list,
            [
                json!({"operation": "int3", "machine": "pv-ring1", "instructions": 9,
                       "entries": {"exception": 1}, "cr3_loads": 2, "flushes": 3}),
                json!({"operation": "int3", "machine": "xen", "instructions": 9,
                       "entries": null, "cr3_loads": null, "flushes": null}),
            ]
        );
    }
}
