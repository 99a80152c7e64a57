//! Reads what a machine prints on its serial line: whole lines, the unfinished one, and the demonstration's
//! own words.
//!
//! One domain prints as it likes; lines of the others are marked, `(d2) text`, and the hypervisor's with `(PV)`. When such a
//! line comes while the domain's own is unfinished, that is erased and shown again behind it.

use crate::status::{End, debug_exit};

/// The sum that ends a demonstration: `demo: N ok, M failed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Checks that held.
    pub ok: usize,
    /// Checks that did not.
    pub failed: usize,
}

/// What takes an unfinished line off the screen.
const ERASE: &[u8] = b"\r\x1b[K";

/// What a domain says, without the mark of a domain that does not have the console.
#[must_use]
pub fn unmarked(line: &str) -> &str {
    let text = line.strip_prefix("(d").and_then(|rest| rest.split_once(") "));
    match text {
        Some((number, text)) if number.parse::<u16>().is_ok() => text,
        _ => line,
    }
}

/// How Xen begins the report of its own panic.
const XEN_PANIC: &str = "(XEN) Panic on CPU";

/// Lines in which its last words are looked for.
const XEN_LAST_LINES: usize = 64;

/// How the line begins in which Xen says what its first domain did, or itself, and the status that Paravane would end the
/// emulator with.
const XEN_ENDS: [(&str, i32); 4] = [
    ("(XEN) Hardware Dom0 halted", debug_exit::POWER_OFF),
    ("(XEN) Hardware Dom0 shutdown: rebooting", debug_exit::REBOOT),
    ("(XEN) Hardware Dom0 crashed", debug_exit::GUEST_CRASH),
    ("(XEN) Manual reset required", debug_exit::HYPERVISOR_PANIC),
];

/// What Xen says when it crashes a domain goes out at once, in the middle of what the first domain has queued before: a line of
/// a domain's, by its mark, or of the toolstack's, and what Xen says.
fn cut_by_xen(line: &str) -> Option<(&str, &str)> {
    let (before, after) = line.split_at(line.find("(XEN) ")?);
    (unmarked(before) != before || before.starts_with("toolstack: ")).then_some((before, after))
}

/// Everything a machine has printed so far.
#[derive(Clone, Debug, Default)]
pub struct Console {
    lines: Vec<String>,
    /// The beginning of a line whose rest comes behind what Xen says.
    cut: String,
    open: Vec<u8>,
    own: usize,
}

impl Console {
    /// Takes the next bytes of the serial line.
    pub fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' => {
                    let line = core::mem::take(&mut self.open);
                    let erased = line.windows(ERASE.len()).rposition(|window| window == ERASE);
                    let seen = &line[erased.map_or(0, |at| at + ERASE.len())..];
                    let seen = String::from_utf8_lossy(seen).trim_end_matches('\r').to_owned();
                    if erased.is_none() && unmarked(&seen) == seen && !seen.starts_with("(PV) ") {
                        self.own += 1;
                    }
                    self.end_line(seen);
                }
                _ => self.open.push(byte),
            }
        }
    }

    fn end_line(&mut self, line: String) {
        if line.starts_with("(XEN) ") {
            return self.lines.push(line);
        }
        let line = std::mem::take(&mut self.cut) + &line;
        match cut_by_xen(&line) {
            Some((before, after)) => {
                self.cut = before.to_owned();
                self.lines.push(after.to_owned());
            }
            None => self.lines.push(line),
        }
    }

    /// The whole lines, without their ends.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// How many lines the domain that has the console has ended.
    #[must_use]
    pub fn own_lines(&self) -> usize {
        self.own
    }

    /// The line still being printed: a prompt stands here.
    #[must_use]
    pub fn open_line(&self) -> String {
        String::from_utf8_lossy(&self.open).into_owned()
    }

    /// Whether the guest's shell waits for a line.
    #[must_use]
    pub fn at_prompt(&self) -> bool {
        self.open.ends_with(b"$ ")
    }

    /// The good lines of a demonstration or of the conformance suite.
    #[must_use]
    pub fn ok_lines(&self) -> Vec<&str> {
        self.starting_with(&["ok ", "conformance: success ", "conformance: skip "])
    }

    /// The bad lines of either.
    #[must_use]
    pub fn failed_lines(&self) -> Vec<&str> {
        self.starting_with(&["FAILED ", "conformance: failure ", "conformance: error "])
    }

    fn starting_with(&self, starts: &[&str]) -> Vec<&str> {
        let lines = self.lines.iter().map(|line| unmarked(line));
        lines.filter(|line| starts.iter().any(|start| line.starts_with(start))).collect()
    }

    /// The demonstration's last word, when it has spoken it.
    #[must_use]
    pub fn summary(&self) -> Option<Summary> {
        self.lines.iter().rev().find_map(|line| parse_summary(unmarked(line)))
    }

    /// The line in which the hypervisor says that it panicked.
    #[must_use]
    pub fn panic_line(&self) -> Option<&str> {
        self.lines.iter().map(String::as_str).find(|line| {
            let own = line.strip_prefix("(PV) ");
            own.is_some_and(|rest| rest.to_ascii_lowercase().contains("panic")) || line.starts_with(XEN_PANIC)
        })
    }

    /// The end that Xen announces, after which it stands still or resets the machine: it has no port for a verdict.
    #[must_use]
    pub fn last_words(&self) -> Option<End> {
        // What it says last is among the last lines: the whole text is not read anew with every byte.
        let recent = &self.lines[self.lines.len().saturating_sub(XEN_LAST_LINES)..];
        let status = recent.iter().find_map(|line| {
            XEN_ENDS.iter().find(|(start, _)| line.starts_with(start)).map(|(_, status)| *status)
        })?;
        Some(End::Exited(status))
    }
}

/// Reads `demo: N ok, M failed`.
#[must_use]
pub fn parse_summary(line: &str) -> Option<Summary> {
    let (ok, failed) = line.strip_prefix("demo: ")?.split_once(", ")?;
    Some(Summary {
        ok: ok.strip_suffix(" ok")?.parse().ok()?,
        failed: failed.strip_suffix(" failed")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_wherever_the_bytes_were() {
        let mut c = Console::default();
        for piece in ["ok ri", "ngs\r", "\nok fork\n/ ", "$ "] {
            c.push(piece.as_bytes());
        }
        assert_eq!(c.lines(), ["ok rings", "ok fork"]);
        assert_eq!(c.open_line(), "/ $ ");
        assert!(c.at_prompt());
        c.push(b"ls\n");
        assert!(!c.at_prompt());
        assert_eq!(c.ok_lines().len(), 2);
    }

    #[test]
    fn domains_are_told_apart_and_lines_that_were_erased_are_not_seen() {
        let mut c = Console::default();
        c.push(b"ok ri\r\x1b[K(d2) ok fork\r\n(d2) demo: 1 ok, 0 failed\r\nok rings\r\n/ $ \r\x1b[K(PV) d2 stops\r\n/ $ ");
        assert_eq!(c.lines(), ["(d2) ok fork", "(d2) demo: 1 ok, 0 failed", "ok rings", "(PV) d2 stops"]);
        assert_eq!(c.ok_lines(), ["ok fork", "ok rings"]);
        assert_eq!(c.summary(), Some(Summary { ok: 1, failed: 0 }));
        assert!(c.at_prompt());
        assert_eq!(c.own_lines(), 1);
        for line in ["(d) x", "(dx) x", "(d2)x", "d2) x", "(PV) x"] {
            assert_eq!(unmarked(line), line);
        }
    }

    #[test]
    fn a_line_that_xen_cuts_is_whole_again() {
        let mut c = Console::default();
        c.push(b"(d1) ok retur(XEN) crash called\r\n(XEN) rax: 0\r\nns through it\r\nplain (XEN) text\r\n");
        c.push(b"(d12) val(XEN) one\n(XEN) two\nu(XEN) three\ne\ntoolstack: do(XEN) four\nmain 1\n");
        let whole = ["(XEN) crash called", "(XEN) rax: 0", "(d1) ok returns through it", "plain (XEN) text"];
        assert_eq!(c.lines()[..4], whole);
        let more =
            ["(XEN) one", "(XEN) two", "(XEN) three", "(d12) value", "(XEN) four", "toolstack: domain 1"];
        assert_eq!(c.lines()[4..], more);
    }

    #[test]
    fn summaries() {
        assert_eq!(parse_summary("demo: 21 ok, 0 failed"), Some(Summary { ok: 21, failed: 0 }));
        assert_eq!(parse_summary("demo: 20 ok, 1 failed"), Some(Summary { ok: 20, failed: 1 }));
        for bad in ["demo: ok, 0 failed", "demo: 1 ok", "xdemo: 1 ok, 0 failed", "demo: 1 ok, 0 failed."] {
            assert_eq!(parse_summary(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_the_hypervisors_own_panic_counts() {
        let mut c = Console::default();
        c.push(b"guest says panic\n(PV) booting\n");
        assert_eq!(c.panic_line(), None);
        c.push(b"(PV) PANIC at frame.rs:3\n");
        assert_eq!(c.panic_line(), Some("(PV) PANIC at frame.rs:3"));
    }

    #[test]
    fn xens_last_words_are_an_end() {
        for (words, end) in [
            ("(XEN) Hardware Dom0 halted: halting machine", Some(33)),
            ("(XEN) Hardware Dom0 shutdown: rebooting machine", Some(39)),
            ("(XEN) Hardware Dom0 crashed: 'noreboot' set - not rebooting.", Some(35)),
            ("(XEN) Scrubbing Free RAM", None),
            ("ok says (XEN) Hardware Dom0 halted", None),
        ] {
            let mut c = Console::default();
            c.push(format!("one\r\r\n{words}\r\r\nthree").as_bytes());
            assert_eq!(c.last_words(), end.map(End::Exited), "{words}");
            assert_eq!(c.panic_line(), None);
        }
        let mut c = Console::default();
        c.push(b"(XEN) Panic on CPU 0:\n");
        assert!(c.panic_line().is_some());
    }
}
