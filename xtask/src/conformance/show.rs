//! A run for the eye.

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use paravane_tests::conformance::Report;
use paravane_tests::conformance::lines::Outcome;

/// Prints what each case saw.
pub fn values(report: &Report) {
    for case in &report.cases {
        println!("{}", case.entry.name());
        case.seen.values.iter().for_each(|(what, text)| println!("    {what} = {text}"));
    }
}

/// How many cases of each row ended how.
pub fn table(report: &Report) -> Table {
    let mut table = Table::new();
    let names = Outcome::ALL.map(Outcome::name);
    table.load_preset(UTF8_FULL_CONDENSED).set_header(["row"].into_iter().chain(names));
    let mut rows: Vec<(String, [usize; Outcome::ALL.len()])> = Vec::new();
    for case in &report.cases {
        let name = case.entry.row_name();
        if rows.last().is_none_or(|(last, _)| *last != name) {
            rows.push((name, [0; Outcome::ALL.len()]));
        }
        let counts = Outcome::ALL.iter().position(|outcome| *outcome == case.seen.outcome);
        if let (Some(at), Some((_, counts))) = (counts, rows.last_mut()) {
            counts[at] += 1;
        }
    }
    for (name, counts) in rows {
        let text = |count: usize| if count == 0 { String::new() } else { count.to_string() };
        table.add_row([name].into_iter().chain(counts.map(text)));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_tests::conformance::seen::Observed;
    use paravane_tests::conformance::{Judged, Target, catalogue};

    #[test]
    fn rows_are_summed() {
        let row = catalogue::all()[0];
        let judged = |outcome| Judged { entry: row, seen: Observed::bare(outcome, "") };
        let cases = vec![judged(Outcome::Success), judged(Outcome::Success), judged(Outcome::Skip)];
        let text = table(&Report { target: Target::XEN, cases }).to_string();
        let line = text.lines().find(|line| line.contains(&row.row_name())).unwrap();
        let cells: Vec<&str> =
            line.split(['│', '┆']).map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(cells, [row.row_name().as_str(), "2", "1"]);
    }
}
