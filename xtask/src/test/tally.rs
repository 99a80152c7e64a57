//! Counts of what passed, failed and was skipped, from every runner there is.

use std::fmt;

/// The sum of a test run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that held.
    pub passed: usize,
    /// Names of those that did not.
    pub failed: Vec<String>,
    /// Names of those that did not run, with the condition that kept them.
    pub skipped: Vec<String>,
}

impl Tally {
    /// Adds another sum.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
    }

    /// Whether anything ran.
    pub fn ran(&self) -> bool {
        self.passed + self.failed.len() > 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped.len())
    }
}

/// Reads what `cargo test` prints. `what` names the run where no test can be named.
pub fn of_cargo_test(what: &str, text: &str, success: bool) -> Tally {
    let mut tally = Tally::default();
    let mut counted_failures = 0;
    for line in text.lines() {
        if let Some(counts) = line.strip_prefix("test result: ") {
            tally.passed += count(counts, " passed");
            counted_failures += count(counts, " failed");
        } else if let Some(test) = line.strip_prefix("test ") {
            if let Some(name) = test.strip_suffix(" ... FAILED") {
                tally.failed.push(name.to_owned());
            } else if let Some((name, why)) = test.split_once(" ... ignored") {
                let why = why.trim_start_matches(", ");
                let why = if why.is_empty() { "marked #[ignore]" } else { why };
                tally.skipped.push(format!("{name}: {why}"));
            }
        }
    }
    // A binary that dies names no test, and a crate that does not build runs none.
    while tally.failed.len() < counted_failures {
        tally.failed.push(format!("{what}: a test without a line of its own"));
    }
    if !success && tally.failed.is_empty() {
        tally.failed.push(format!("{what}: did not build, or died"));
    }
    tally
}

/// The number before a word in `ok. 9 passed; 0 failed; ...`.
fn count(counts: &str, word: &str) -> usize {
    counts
        .split([';', '.'])
        .find_map(|part| part.trim().strip_suffix(word.trim_start()))
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
running 3 tests
test frame::a ... ok
test frame::b ... FAILED
test frame::c ... ignored, needs a machine
test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; finished in 1.20s
";

    #[test]
    fn the_results_of_all_binaries_add_up() {
        let tally = of_cargo_test("host", TEXT, false);
        assert_eq!(tally.passed, 8);
        assert_eq!(tally.failed, ["frame::b"]);
        assert_eq!(tally.skipped, ["frame::c: needs a machine"]);
        assert_eq!(tally.to_string(), "8 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn a_run_that_fails_without_a_test_still_fails() {
        let tally = of_cargo_test("host", "error: could not compile `x`\n", false);
        assert_eq!(tally.failed.len(), 1);
        assert!(tally.ran());
        let tally = of_cargo_test("host", "test result: FAILED. 0 passed; 2 failed; 0 ignored", false);
        assert_eq!(tally.failed.len(), 2);
    }

    #[test]
    fn nothing_run_is_nothing() {
        let tally = of_cargo_test("host", "test result: ok. 0 passed; 0 failed; 0 ignored", true);
        assert!(!tally.ran());
    }
}
