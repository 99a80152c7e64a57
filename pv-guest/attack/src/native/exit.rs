//! The end of a run on a PC: by the exit device that the command line names.

use core::arch::asm;
use core::sync::atomic::{AtomicU16, Ordering};

use super::registers::out;
use super::serial;

static PORT: AtomicU16 = AtomicU16::new(0);

const POWER_OFF: u8 = 0x10;
const CRASH: u8 = 0x11;

/// Takes `exit=PORT` from the command line.
pub fn configure(line: &str) {
    let word = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("exit=0x"));
    let port = word.and_then(|digits| u16::from_str_radix(digits, 16).ok());
    PORT.store(port.unwrap_or(0), Ordering::Relaxed);
}

/// The port of the exit device.
pub fn port() -> u16 {
    PORT.load(Ordering::Relaxed)
}

fn leave(value: u8) -> ! {
    serial::drain();
    out(port(), value);
    loop {
        // SAFETY: the machine is over.
        unsafe { asm!("cli", "hlt", options(nostack)) };
    }
}

/// All is done.
pub fn power_off() -> ! {
    leave(POWER_OFF)
}

/// This kernel is broken.
pub fn crash() -> ! {
    leave(CRASH)
}
