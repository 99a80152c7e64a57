//! A bare machine's serial port.

use super::Backend;
use crate::cpu_ops::native::serial;

/// The first one.
pub struct SerialPort;

/// Switches it on, and its interrupts for input.
pub fn init() {
    serial::init();
}

impl Backend for SerialPort {
    fn write(&self, bytes: &[u8]) {
        serial::write(bytes);
    }

    fn read(&self, buffer: &mut [u8]) -> usize {
        serial::read(buffer)
    }

    fn has_read(&self) {}

    fn drain(&self) {
        serial::drain();
    }
}
