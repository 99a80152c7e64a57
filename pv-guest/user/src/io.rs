//! Printing. Every macro call becomes one `write`, so lines of two processes do not mix.

use crate::sys;
use alloc::string::String;
use core::fmt::{self, Write};

/// Standard input.
pub const STDIN: usize = 0;
/// Standard output.
pub const STDOUT: usize = 1;
/// Standard error.
pub const STDERR: usize = 2;

/// Writes all of `buf`, over as many calls as that takes.
pub fn write_all(fd: usize, mut buf: &[u8]) -> sys::Result<()> {
    while !buf.is_empty() {
        match sys::write(fd, buf) {
            Ok(0) => return Err(crate::Errno::EIO),
            Ok(n) => buf = &buf[n..],
            Err(crate::Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A descriptor as a formatting target, without allocation: the panic message's way out.
pub struct Unbuffered(pub usize);

impl Write for Unbuffered {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_all(self.0, text.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// Target of the macros.
#[doc(hidden)]
pub fn print_to(fd: usize, args: fmt::Arguments<'_>, end: &str) {
    let mut text = String::new();
    let _ = text.write_fmt(args);
    text.push_str(end);
    // A program whose output nobody reads any more has nothing left to say.
    let _ = write_all(fd, text.as_bytes());
}

/// Prints to standard output.
#[macro_export]
macro_rules! print {
    ($($arg:tt)*) => { $crate::io::print_to($crate::io::STDOUT, format_args!($($arg)*), "") };
}

/// Prints a line to standard output.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($arg:tt)*) => { $crate::io::print_to($crate::io::STDOUT, format_args!($($arg)*), "\n") };
}

/// Prints a line to standard error.
#[macro_export]
macro_rules! eprintln {
    ($($arg:tt)*) => { $crate::io::print_to($crate::io::STDERR, format_args!($($arg)*), "\n") };
}

/// Whether the descriptor is a terminal: whether it has terminal settings (`TCGETS`).
pub fn is_terminal(fd: usize) -> bool {
    const TCGETS: usize = 0x5401;
    let mut settings = [0u8; 64];
    // SAFETY: the kernel writes `struct termios`, 36 bytes, into the buffer.
    unsafe { sys::syscall(sys::nr::IOCTL, [fd, TCGETS, settings.as_mut_ptr() as usize, 0, 0, 0]) }.is_ok()
}
