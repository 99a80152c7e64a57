//! What an attack found.

use core::fmt::{self, Write};

use crate::say;

/// Longest text of a failed check.
const TEXT: usize = 200;

/// The checks of one attack; the first that failed is told.
pub struct Report {
    checks: u32,
    failed: u32,
    text: [u8; TEXT],
    used: usize,
}

impl Write for Report {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let taken = text.len().min(TEXT - self.used);
        self.text[self.used..self.used + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.used += taken;
        Ok(())
    }
}

impl Report {
    /// Nothing checked yet.
    pub fn new() -> Self {
        Self { checks: 0, failed: 0, text: [0; TEXT], used: 0 }
    }

    /// One check.
    pub fn check(&mut self, what: fmt::Arguments<'_>, good: bool) {
        self.checks += 1;
        if good {
            return;
        }
        self.failed += 1;
        if self.failed == 1 {
            self.used = 0;
            // The buffer takes everything, or cuts it.
            let _ = self.write_fmt(what);
        }
    }

    /// A result must be this one.
    pub fn result(&mut self, what: &str, got: i64, wanted: i64) {
        self.check(format_args!("{what}: {got}, wanted {wanted}"), got == wanted);
    }

    /// A result must be an error.
    pub fn refused(&mut self, what: &str, got: i64) {
        self.check(format_args!("{what}: {got}, wanted an error"), got < 0);
    }

    /// Words for the line of an attack that found nothing wrong.
    pub fn note(&mut self, what: fmt::Arguments<'_>) {
        if self.failed == 0 {
            self.used = 0;
            // As above.
            let _ = self.write_fmt(what);
        }
    }

    /// Whether something was checked, and nothing was wrong.
    pub fn good(&self) -> bool {
        self.failed == 0 && self.checks > 0
    }

    /// Prints the line; true when nothing was wrong. An attack that checks nothing has failed.
    pub fn end(&self, name: &str, reason: &str) -> bool {
        let good = self.good();
        let verdict = if good { "ok" } else { "FAILED" };
        let text = core::str::from_utf8(&self.text[..self.used]).unwrap_or("");
        say!("{verdict} attack.{name} {} checks, {} failed; {text} ({reason})", self.checks, self.failed);
        good
    }
}
