//! The conformance suite is whole: every row of the table of hypercalls has its cases, and every case what real Xen showed it.

use paravane_tests::conformance::{catalogue, coverage, golden};
use paravane_tests::source;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// Most bytes of a file of goldens.
const BYTES: usize = 200 * 1024;

fn folder() -> PathBuf {
    source::root().join(golden::FOLDER)
}

#[test]
fn every_row_of_the_table_has_its_cases() {
    let lacking = coverage::lacking(&coverage::wanted(), &conformance::rows::ALL.concat());
    let lines: Vec<String> = lacking.iter().map(|(name, lack)| format!("{name}: {}", lack.text())).collect();
    assert!(lines.is_empty(), "{} rows:\n{}", lines.len(), lines.join("\n"));
}

#[test]
fn real_xen_confirms_what_is_never_refused() {
    let goldens = golden::read(&folder()).unwrap();
    let claims = coverage::unconfirmed(&conformance::rows::ALL.concat(), &goldens);
    assert!(claims.is_empty(), "no golden of a case of good use: {claims:?}");
}

#[test]
fn every_case_has_its_golden_and_every_golden_its_case() {
    let cases = catalogue::all();
    let cases: BTreeSet<String> =
        cases.iter().filter(|entry| golden::has_one(entry)).map(catalogue::Entry::name).collect();
    let goldens: BTreeSet<String> = golden::read(&folder()).unwrap().into_keys().collect();
    let [without, gone] = [(&cases, &goldens), (&goldens, &cases)]
        .map(|(one, other)| one.difference(other).collect::<Vec<_>>());
    assert!(without.is_empty(), "{} cases without a golden: {without:?}", without.len());
    assert!(gone.is_empty(), "{} goldens of cases that are gone: {gone:?}", gone.len());
}

#[test]
fn goldens_are_small_and_say_how_they_are_made() {
    for path in source::files(&folder(), &[".txt"]) {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.len() < BYTES, "{} has {} bytes", path.display(), text.len());
        let header = text.lines().next().unwrap_or_default();
        assert!(header.starts_with("# ") && header.contains("--bless"), "{}: {header}", path.display());
    }
}
