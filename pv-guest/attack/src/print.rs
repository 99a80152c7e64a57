//! The hypervisor's own console: it needs nothing set up, so nothing the attacks do can break it. On a PC it is the serial
//! port.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU64, Ordering};

use paravane_abi::console::CONSOLEIO_WRITE;
use paravane_abi::hypercall::HYPERVISOR_CONSOLE_IO;

use crate::hypercall::raw;

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

static SEED: AtomicU64 = AtomicU64::new(0);
static INDEX: AtomicU64 = AtomicU64::new(u64::MAX);

/// Notes which step of the fuzzer is under way.
pub fn at_step(seed: u64, index: u64) {
    SEED.store(seed, Ordering::Relaxed);
    INDEX.store(index, Ordering::Relaxed);
}

/// Prints which step was under way, with the words that repeat it.
pub fn step() {
    let (seed, index) = (SEED.load(Ordering::Relaxed), INDEX.load(Ordering::Relaxed));
    if index != u64::MAX {
        line(format_args!("fuzz: seed {seed} index {index}; again: fuzz={seed},{},{index}", index + 1));
    }
}

/// Prints a line.
pub fn line(arguments: fmt::Arguments<'_>) {
    let mut buffer = Buffer { bytes: [0; LINE], used: 0 };
    // The buffer takes everything, or cuts it.
    let _ = buffer.write_fmt(arguments);
    buffer.bytes[buffer.used] = b'\n';
    if crate::native::running() {
        return crate::native::serial::write(&buffer.bytes[..=buffer.used]);
    }
    let length = buffer.used as u64 + 1;
    let address = buffer.bytes.as_ptr() as u64;
    raw(HYPERVISOR_CONSOLE_IO, [CONSOLEIO_WRITE.into(), length, address, 0, 0]);
}

/// Prints a line.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => { $crate::print::line(format_args!($($arg)*)) };
}
