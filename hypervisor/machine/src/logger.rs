//! The log facade's backend: levelled lines on the serial port, marked so that they can be told from a
//! guest's output.

use core::fmt::Write;

use log::{LevelFilter, Log, Metadata, Record};

use crate::device::serial::COM1_PORT;

/// What every line of the hypervisor starts with.
pub const PREFIX: &str = "(PV) ";

struct SerialLogger;

static LOGGER: SerialLogger = SerialLogger;

impl Log for SerialLogger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        COM1_PORT.lock().send_lines(|port| {
            // A serial port that takes no bytes is no reason to stop: `send` drops them, and never errs.
            let _ = writeln!(Lines { port, at_start: true }, "{}", record.args());
        });
    }

    fn flush(&self) {}
}

/// Puts the prefix before every line of a message of several lines.
pub struct Lines<'a, W: Write> {
    /// Where the lines go.
    pub port: &'a mut W,
    /// Whether the next character begins a line.
    pub at_start: bool,
}

impl<W: Write> Write for Lines<'_, W> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for piece in text.split_inclusive('\n') {
            if self.at_start {
                self.port.write_str(PREFIX)?;
            }
            self.port.write_str(piece)?;
            self.at_start = piece.ends_with('\n');
        }
        Ok(())
    }
}

/// Installs the logger; everything is shown until the command line has been read.
pub fn initialise() {
    if log::set_logger(&LOGGER).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}
