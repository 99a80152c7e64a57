//! The serial port, written without interrupts.

use super::registers::{input, out};

const BASE: u16 = 0x3f8;
/// Bytes that its FIFO takes.
const FIFO: usize = 16;
const CAN_SEND: u8 = 1 << 5;
const SENT: u8 = 1 << 6;

/// 115200 baud, 8 bits, no parity, queues on, no interrupts. Clearing the queues would lose what they hold.
pub fn initialise() {
    drain();
    for (register, value) in [(1, 0), (3, 0x83), (0, 1), (1, 0), (3, 3), (2, 7), (4, 3)] {
        out(BASE + register, value);
    }
}

/// Sends bytes.
pub fn write(bytes: &[u8]) {
    for chunk in bytes.chunks(FIFO) {
        while input(BASE + 5) & CAN_SEND == 0 {}
        chunk.iter().for_each(|byte| out(BASE, *byte));
    }
}

/// Waits until all has left.
pub fn drain() {
    while input(BASE + 5) & SENT == 0 {}
}
