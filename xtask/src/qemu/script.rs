//! Piped input: a line for each prompt of the guest's shell, then the word that powers off.

use std::collections::VecDeque;

/// What is typed when the input has ended.
const LAST: &str = "poweroff";

/// Lines that wait for their prompt.
#[derive(Debug, Default)]
pub struct Script {
    lines: VecDeque<Vec<u8>>,
    open: Vec<u8>,
    ended: bool,
    said_last: bool,
}

impl Script {
    /// Takes what was read from the pipe.
    pub fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.lines.push_back(core::mem::take(&mut self.open));
            } else {
                self.open.push(byte);
            }
        }
    }

    /// The pipe has ended; an unfinished line counts as one.
    pub fn end(&mut self) {
        if !self.open.is_empty() {
            self.lines.push_back(core::mem::take(&mut self.open));
        }
        self.ended = true;
    }

    /// What to type at a prompt, Enter included; nothing while the next line is not known yet.
    pub fn next(&mut self) -> Option<Vec<u8>> {
        let mut line = match self.lines.pop_front() {
            Some(line) => line,
            None if self.ended && !self.said_last => {
                self.said_last = true;
                LAST.into()
            }
            None => return None,
        };
        // What the Enter key sends.
        line.push(b'\r');
        Some(line)
    }

    /// Whether a prompt now waits for the writer of the pipe, not for the guest.
    pub fn waits_for_input(&self) -> bool {
        self.lines.is_empty() && !self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_each_prompt_then_power_off() {
        let mut script = Script::default();
        assert!(script.waits_for_input());
        assert_eq!(script.next(), None);
        script.push(b"echo a\nech");
        assert!(!script.waits_for_input());
        assert_eq!(script.next().unwrap(), b"echo a\r");
        assert_eq!(script.next(), None, "half a line is not typed");
        script.push(b"o b");
        script.end();
        assert_eq!(script.next().unwrap(), b"echo b\r");
        assert_eq!(script.next().unwrap(), b"poweroff\r");
        assert_eq!(script.next(), None, "once is enough");
    }

    #[test]
    fn empty_lines_are_lines() {
        let mut script = Script::default();
        script.push(b"\n\n");
        script.end();
        assert_eq!(script.next().unwrap(), b"\r");
        assert_eq!(script.next().unwrap(), b"\r");
        assert_eq!(script.next().unwrap(), b"poweroff\r");
    }
}
