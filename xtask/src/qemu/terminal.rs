//! The user's terminal in raw mode, and back.

use anyhow::{Context, Result};
use rustix::termios::{self, OptionalActions, OutputModes, Termios};
use std::os::fd::{AsFd, BorrowedFd};

/// The terminal on standard input, raw for as long as this lives. Dropped, also by a panic's unwinding, it
/// gives the settings back.
#[derive(Debug)]
pub struct Raw {
    before: Termios,
}

impl Raw {
    /// Keys arrive one by one and unread by the terminal: Ctrl-C is a byte for the guest.
    pub fn enter() -> Result<Self> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin).context("reading the terminal's settings")?;
        let mut raw = before.clone();
        raw.make_raw();
        // Messages of this command end in a newline alone; the guest's carriage returns do no harm.
        raw.output_modes |= before.output_modes & (OutputModes::OPOST | OutputModes::ONLCR);
        set(stdin.as_fd(), &raw).context("setting the terminal to raw mode")?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Nothing more can be done about a terminal that is gone.
        let _ = set(std::io::stdin().as_fd(), &self.before);
    }
}

fn set(fd: BorrowedFd<'_>, settings: &Termios) -> rustix::io::Result<()> {
    // Not "flush": keys typed ahead belong to the guest, or to the user's shell.
    termios::tcsetattr(fd, OptionalActions::Drain, settings)
}
