//! Lines, by the hypervisor's console: it needs nothing set up, so nothing a case does can break it.

use core::fmt::{self, Write};

use paravane_abi::console::CONSOLEIO_WRITE;
use paravane_abi::hypercall::HYPERVISOR_CONSOLE_IO;

use super::hypercall::raw;

/// Longest line; what is longer is cut.
const LINE: usize = 400;

struct Buffer {
    bytes: [u8; LINE],
    used: usize,
}

impl Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LINE - 1 - self.used;
        let taken = text.len().min(room);
        self.bytes[self.used..self.used + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.used += taken;
        Ok(())
    }
}

/// Prints a line.
pub fn line(arguments: fmt::Arguments<'_>) {
    let mut buffer = Buffer { bytes: [0; LINE], used: 0 };
    // The buffer takes everything, or cuts it.
    let _ = buffer.write_fmt(arguments);
    buffer.bytes[buffer.used] = b'\n';
    let length = buffer.used as u64 + 1;
    let address = buffer.bytes.as_ptr() as u64;
    raw(HYPERVISOR_CONSOLE_IO, [CONSOLEIO_WRITE.into(), length, address, 0, 0]);
}

/// Prints a line.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => { $crate::kernel::print::line(format_args!($($arg)*)) };
}

/// Prints a value that the running case observed: its name, and how it is written.
#[macro_export]
macro_rules! observe {
    ($name:literal, $($arg:tt)*) => {
        $crate::kernel::print::value(format_args!($name), format_args!($($arg)*))
    };
    (($($name:tt)*), $($arg:tt)*) => {
        $crate::kernel::print::value(format_args!($($name)*), format_args!($($arg)*))
    };
}

/// Prints a value of the running case.
pub fn value(name: fmt::Arguments<'_>, value: fmt::Arguments<'_>) {
    say!("oracle: {}.{name} = {value}", super::boot::case_name());
}
