//! A run's outcomes for other programs.

use anyhow::{Context, Result};
use paravane_tests::conformance::Report;
use serde_json::{Value, json};

/// A list with an object for each case.
pub fn of(report: &Report) -> Result<String> {
    let cases: Vec<Value> = report
        .cases
        .iter()
        .map(|case| {
            json!({
                "case": case.entry.name(),
                "row": case.entry.row_name(),
                "role": case.entry.case.role.name(),
                "hypervisor": report.target.hypervisor.name(),
                "machine": report.target.machine.name(),
                "outcome": case.seen.outcome.name(),
            })
        })
        .collect();
    let mut text = serde_json::to_string_pretty(&cases).context("writing JSON")?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_tests::conformance::lines::Outcome;
    use paravane_tests::conformance::seen::Observed;
    use paravane_tests::conformance::{Judged, Target, catalogue};

    #[test]
    fn each_case_has_its_words() {
        let entry = catalogue::all()[0];
        let cases = vec![Judged { entry, seen: Observed::bare(Outcome::Skip, "why") }];
        let text = of(&Report { target: Target::RING1, cases }).unwrap();
        let list: Vec<Value> = serde_json::from_str(&text).unwrap();
        let role = entry.case.role.name();
        assert_eq!(
            list,
            [json!({"case": entry.name(), "row": entry.row_name(), "role": role,
                    "hypervisor": "paravane", "machine": "pv-ring1", "outcome": "skip"})]
        );
    }
}
