//! The first serial port: a 16550, whose input interrupts (National Semiconductor's PC16550D).

use x86_64::instructions::port::Port;

const BASE: u16 = 0x3f8;
/// Its interrupt line.
pub const IRQ: u8 = 4;

const DATA: u16 = BASE;
const INTERRUPTS: u16 = BASE + 1;
const FIFO: u16 = BASE + 2;
const LINE: u16 = BASE + 3;
const MODEM: u16 = BASE + 4;
const STATUS: u16 = BASE + 5;

/// In [`STATUS`]: a byte has come; one can be sent; all have left.
const RECEIVED: u8 = 1 << 0;
const CAN_SEND: u8 = 1 << 5;
const SENT: u8 = 1 << 6;

fn write_register(port: u16, value: u8) {
    // SAFETY: the port is this kernel's.
    unsafe { Port::new(port).write(value) };
}

fn status() -> u8 {
    // SAFETY: as above.
    unsafe { Port::new(STATUS).read() }
}

/// 115200 baud, 8 bits, no parity, queues on; input interrupts.
pub fn init() {
    const DIVISOR_ACCESS: u8 = 1 << 7;
    write_register(INTERRUPTS, 0);
    write_register(LINE, DIVISOR_ACCESS | 3);
    write_register(DATA, 1);
    write_register(INTERRUPTS, 0);
    write_register(LINE, 3);
    // On and empty.
    write_register(FIFO, 7);
    // DTR, RTS, and OUT2, which lets the interrupt out.
    write_register(MODEM, 0xb);
    write_register(INTERRUPTS, 1);
}

/// Sends bytes, waiting for room.
pub fn write(bytes: &[u8]) {
    for &byte in bytes {
        while status() & CAN_SEND == 0 {}
        write_register(DATA, byte);
    }
}

/// Takes bytes that have come; gives how many there were.
pub fn read(buffer: &mut [u8]) -> usize {
    let mut count = 0;
    while count < buffer.len() && status() & RECEIVED != 0 {
        // SAFETY: as above.
        buffer[count] = unsafe { Port::new(DATA).read() };
        count += 1;
    }
    count
}

/// Waits until all is sent.
pub fn drain() {
    while status() & SENT == 0 {}
}
