//! The table of values.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use paravane_tests::oracle::{Comparison, Verdict};
use std::io::IsTerminal;

/// All values, or those alone that differ.
pub fn of(comparison: &Comparison, differences: bool) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header(["value", "Xen 4.17", "Paravane", ""]);
    if let Some(width) = width() {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    for row in comparison.rows.iter().filter(|row| !differences || row.verdict != Verdict::Same) {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "not seen".to_owned());
        let mark = match row.verdict {
            Verdict::Same => "=".to_owned(),
            Verdict::Explained(reason) => format!("differs: {reason}"),
            Verdict::Unexplained => "DIFFERS".to_owned(),
        };
        let name = format!("{}.{}", row.case, row.name);
        table.add_row([name, shown(&row.xen), shown(&row.paravane), mark]);
    }
    table
}

/// Columns of the terminal; a file takes lines of any length.
fn width() -> Option<u16> {
    let stdout = std::io::stdout();
    let size = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout))?;
    size.ok().map(|size| size.ws_col).filter(|&columns| columns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_tests::oracle::Row;

    #[test]
    fn what_differs_is_marked() {
        let row = |name: &str, paravane: Option<&str>, verdict| Row {
            case: "case".into(),
            name: name.into(),
            xen: Some("0x1".into()),
            paravane: paravane.map(Into::into),
            verdict,
        };
        let rows = vec![
            row("same", Some("0x1"), Verdict::Same),
            row("other", Some("0x2"), Verdict::Explained("more memory")),
            row("gone", None, Verdict::Unexplained),
        ];
        let comparison = Comparison { rows, stale: Vec::new() };
        let all = of(&comparison, false).to_string();
        assert!(all.contains("case.same") && all.contains("differs: more memory"), "{all}");
        assert!(all.contains("not seen") && all.contains("DIFFERS"), "{all}");
        assert!(!of(&comparison, true).to_string().contains("case.same"));
    }
}
