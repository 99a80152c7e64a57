//! The lines the demonstration counts: `ok NAME detail` and `FAILED NAME detail`.

use core::fmt;

/// A program's tally.
#[derive(Default)]
pub struct Report {
    /// Checks that held.
    pub passed: usize,
    /// Checks that did not.
    pub failed: usize,
}

impl Report {
    /// An empty tally.
    pub fn new() -> Report {
        Report::default()
    }

    /// Prints the line of one check.
    pub fn check(&mut self, name: &str, good: bool, detail: fmt::Arguments<'_>) {
        let verdict = if good { "ok" } else { "FAILED" };
        crate::println!("{verdict} {name} {detail}");
        if good {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }

    /// The exit code: 0 when something was checked and nothing failed.
    pub fn code(&self) -> i32 {
        i32::from(self.failed > 0 || self.passed == 0)
    }
}

/// What a line says: `Some(true)` for `ok`, `Some(false)` for `FAILED`, else `None`.
pub fn verdict(line: &str) -> Option<bool> {
    match line.split(' ').next() {
        Some("ok") => Some(true),
        Some("FAILED") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::verdict;

    #[test]
    fn only_whole_words_count() {
        assert_eq!(verdict("ok fork x"), Some(true));
        assert_eq!(verdict("FAILED fork"), Some(false));
        assert_eq!(verdict("okay"), None);
        assert_eq!(verdict(""), None);
    }
}
