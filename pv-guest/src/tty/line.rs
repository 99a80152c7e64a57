//! The line discipline: from keys to lines (or to bytes, in raw mode), with echo and signals.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::termios::{Termios, cc, iflag, lflag, oflag};

/// Longest line being edited (Linux's N_TTY_BUF_SIZE); more is refused with a bell.
const LINE_MAX: usize = 4095;
/// Most bytes waiting to be read.
const QUEUE_MAX: usize = 16 * 1024;

/// A signal the terminal sends to its foreground group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-\.
    Quit,
    /// Ctrl-Z.
    Suspend,
}

/// The discipline's state.
pub struct Line {
    /// The settings.
    pub termios: Termios,
    /// The line being edited.
    edit: Vec<u8>,
    /// What can be read. In canonical mode each entry is a line, or what Ctrl-D ended: an empty one is the
    /// end of the file.
    ready: VecDeque<Vec<u8>>,
    queued: usize,
}

impl Line {
    /// A terminal as it starts.
    pub const fn new() -> Line {
        Line { termios: Termios::new(), edit: Vec::new(), ready: VecDeque::new(), queued: 0 }
    }

    fn local(&self, flag: u32) -> bool {
        self.termios.lflag & flag != 0
    }

    fn is(&self, byte: u8, index: usize) -> bool {
        byte != 0 && self.termios.cc[index] == byte
    }

    /// Takes one byte from the keyboard; `echo` receives what the terminal shall show.
    pub fn input(&mut self, byte: u8, echo: &mut dyn FnMut(&[u8])) -> Option<Signal> {
        let flags = self.termios.iflag;
        let byte = match byte {
            b'\r' if flags & iflag::IGNCR != 0 => return None,
            b'\r' if flags & iflag::ICRNL != 0 => b'\n',
            b'\n' if flags & iflag::INLCR != 0 => b'\r',
            byte => byte,
        };
        if self.local(lflag::ISIG)
            && let Some(signal) = self.signal_of(byte)
        {
            if !self.local(lflag::NOFLSH) {
                self.flush();
            }
            self.echo_byte(byte, echo);
            return Some(signal);
        }
        if self.termios.canonical() {
            self.edit_byte(byte, echo);
        } else {
            self.echo_byte(byte, echo);
            self.push_raw(&[byte]);
        }
        None
    }

    fn signal_of(&self, byte: u8) -> Option<Signal> {
        match byte {
            _ if self.is(byte, cc::VINTR) => Some(Signal::Interrupt),
            _ if self.is(byte, cc::VQUIT) => Some(Signal::Quit),
            _ if self.is(byte, cc::VSUSP) => Some(Signal::Suspend),
            _ => None,
        }
    }

    fn edit_byte(&mut self, byte: u8, echo: &mut dyn FnMut(&[u8])) {
        // Terminals send 0x7f or 0x08 for the same key, and there is no stty to tell them apart with.
        if self.is(byte, cc::VERASE) || byte == 0x08 {
            self.erase_one(echo);
        } else if self.is(byte, cc::VWERASE) && self.local(lflag::IEXTEN) {
            while self.edit.last() == Some(&b' ') {
                self.erase_one(echo);
            }
            while self.edit.last().is_some_and(|byte| *byte != b' ') {
                self.erase_one(echo);
            }
        } else if self.is(byte, cc::VKILL) {
            while !self.edit.is_empty() {
                self.erase_one(echo);
            }
        } else if self.is(byte, cc::VEOF) {
            self.finish();
        } else if byte == b'\n' || self.is(byte, cc::VEOL) || self.is(byte, cc::VEOL2) {
            if byte == b'\n' && self.local(lflag::ECHONL) && !self.local(lflag::ECHO) {
                self.show(b"\n", echo);
            }
            self.echo_byte(byte, echo);
            self.edit.push(byte);
            self.finish();
        } else if self.edit.len() >= LINE_MAX || self.queued >= QUEUE_MAX {
            echo(b"\x07");
        } else {
            self.edit.push(byte);
            self.echo_byte(byte, echo);
        }
    }

    /// Removes the last character, all its bytes when the terminal is UTF-8, and its picture.
    fn erase_one(&mut self, echo: &mut dyn FnMut(&[u8])) {
        let Some(mut last) = self.edit.pop() else { return };
        if self.termios.iflag & iflag::IUTF8 != 0 {
            while last & 0xc0 == 0x80 {
                match self.edit.pop() {
                    Some(byte) => last = byte,
                    None => break,
                }
            }
        }
        if self.local(lflag::ECHO) && self.local(lflag::ECHOE) {
            // A control character was shown as two: ^X.
            for _ in 0..if is_control(last) { 2 } else { 1 } {
                echo(b"\x08 \x08");
            }
        }
    }

    fn finish(&mut self) {
        let line = core::mem::take(&mut self.edit);
        self.queued += line.len();
        self.ready.push_back(line);
    }

    fn push_raw(&mut self, bytes: &[u8]) {
        if self.queued + bytes.len() > QUEUE_MAX {
            return;
        }
        self.queued += bytes.len();
        match self.ready.back_mut() {
            Some(last) => last.extend_from_slice(bytes),
            None => self.ready.push_back(bytes.into()),
        }
    }

    fn echo_byte(&mut self, byte: u8, echo: &mut dyn FnMut(&[u8])) {
        if !self.local(lflag::ECHO) {
            return;
        }
        if is_control(byte) && self.local(lflag::ECHOCTL) {
            echo(&[b'^', byte ^ 0x40]);
        } else {
            self.show(&[byte], echo);
        }
    }

    fn show(&self, bytes: &[u8], echo: &mut dyn FnMut(&[u8])) {
        self.output(bytes, echo);
    }

    /// Output processing: a line feed becomes carriage return and line feed.
    pub fn output(&self, bytes: &[u8], out: &mut dyn FnMut(&[u8])) {
        if self.termios.oflag & oflag::OPOST == 0 || self.termios.oflag & oflag::ONLCR == 0 {
            out(bytes);
            return;
        }
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(text) => {
                    if !text.is_empty() {
                        out(text);
                    }
                    out(b"\r\n");
                }
                None => out(line),
            }
        }
    }

    /// Whether a read would return at once.
    pub fn readable(&self) -> bool {
        if self.termios.canonical() { !self.ready.is_empty() } else { self.queued > 0 }
    }

    /// Bytes that can be read.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Reads: at most a line in canonical mode. `None`: nothing yet. `Some(0)`: end of file.
    pub fn read(&mut self, buf: &mut [u8]) -> Option<usize> {
        if !self.readable() {
            return None;
        }
        if buf.is_empty() {
            return Some(0);
        }
        let mut done = 0;
        while let Some(line) = self.ready.front_mut() {
            let count = line.len().min(buf.len() - done);
            buf[done..done + count].copy_from_slice(&line[..count]);
            line.drain(..count);
            done += count;
            if line.is_empty() {
                self.ready.pop_front();
            }
            if self.termios.canonical() || done == buf.len() {
                break;
            }
        }
        self.queued -= done;
        Some(done)
    }

    /// Drops all input.
    pub fn flush(&mut self) {
        self.edit.clear();
        self.ready.clear();
        self.queued = 0;
    }

    /// Changes the settings; a line being edited becomes readable when lines end.
    pub fn set_termios(&mut self, termios: Termios) {
        let was_canonical = self.termios.canonical();
        self.termios = termios;
        if was_canonical && !termios.canonical() {
            self.ready.retain(|line| !line.is_empty());
            let edit = core::mem::take(&mut self.edit);
            if !edit.is_empty() {
                self.push_raw(&edit);
            }
        }
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

/// Control characters that `ECHOCTL` shows as `^X`; line feed and tab show themselves.
fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\n' && byte != b'\t') || byte == 0x7f
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
