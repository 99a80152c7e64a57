//! What was counted, for other programs, and for the book.

use super::operations::{Machine, named};
use super::rows::{Counted, Row};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A cell's object.
#[must_use]
pub fn value(row: &Row) -> Value {
    let counted = &row.counted;
    json!({
        "operation": row.operation,
        "machine": row.machine.name(),
        "instructions": row.instructions,
        "entries": counted.entries,
        "cr3_loads": counted.cr3_loads,
        "flushes": counted.flushes,
    })
}

/// A list with an object for each cell that was counted.
///
/// # Errors
///
/// None that is expected: numbers and names can all be written.
pub fn of(rows: &[Row]) -> Result<String> {
    let list: Vec<Value> = rows.iter().map(value).collect();
    let mut text = serde_json::to_string_pretty(&list).context("writing JSON")?;
    text.push('\n');
    Ok(text)
}

/// The rows of such a list.
///
/// # Errors
///
/// The text is no such list, or names what there is not.
pub fn read(text: &str) -> Result<Vec<Row>> {
    let list: Vec<Value> = serde_json::from_str(text).context("a list of counts")?;
    list.iter().map(|value| row(value).with_context(|| value.to_string())).collect()
}

fn row(value: &Value) -> Result<Row> {
    let text = |key: &str| value[key].as_str().with_context(|| format!("{key} is missing"));
    let number = |key: &str| value[key].as_u64().with_context(|| format!("{key} is missing"));
    let entries = value["entries"].as_object().context("entries are missing")?;
    let entry = |(name, count): (&String, &Value)| Some((name.clone(), count.as_u64()?));
    let entries: Option<BTreeMap<String, u64>> = entries.iter().map(entry).collect();
    Ok(Row {
        operation: named(text("operation")?).context("an operation of the list")?.name,
        machine: Machine::named(text("machine")?).context("a machine")?,
        instructions: number("instructions")?,
        counted: Counted {
            entries: entries.context("an entry's count")?,
            cr3_loads: number("cr3_loads")?,
            flushes: number("flushes")?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cell_has_its_counts() {
        let entries = BTreeMap::from([("#BP".to_owned(), 1)]);
        let counted = Counted { entries, cr3_loads: 2, flushes: 3 };
        let row = Row { operation: "int3", machine: Machine::PvRing1, instructions: 9, counted };
        let bare = Row { machine: Machine::Native, counted: Counted::default(), ..row.clone() };
        let rows = [row, bare];
        let text = of(&rows).unwrap();
        assert_eq!(read(&text).unwrap(), rows);
        assert!(read("[{}]").is_err() && read("{}").is_err());
        assert!(
            read(&text.replace("pv-ring1", "vax")).is_err() && read(&text.replace("int3", "tea")).is_err()
        );
        let list: Vec<Value> = serde_json::from_str(&text).unwrap();
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
