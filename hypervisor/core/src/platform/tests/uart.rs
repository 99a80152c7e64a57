//! Rules of the PC16550D data sheet, by section.

use crate::platform::uart::{FIFO, Uart};

const IER: u16 = 1;
const IIR: u16 = 2;
const FCR: u16 = 2;
const LCR: u16 = 3;
const MCR: u16 = 4;
const LSR: u16 = 5;
const MSR: u16 = 6;

fn write(uart: &mut Uart, register: u16, value: u8) {
    assert_eq!(uart.write(register, value, 0), None);
}

/// With the interrupt's output let through, and these interrupts enabled.
fn enabled(interrupts: u8) -> Uart {
    let mut uart = Uart::new();
    write(&mut uart, MCR, 0x0b);
    uart.read(MSR, 0);
    write(&mut uart, IER, interrupts);
    uart
}

// 8.0, "Table III": the state after a reset.
#[test]
fn reset_state() {
    let mut uart = Uart::new();
    let values = [IER, IIR, LCR, MCR, LSR, MSR].map(|register| uart.read(register, 0));
    assert_eq!(values, [0, 0x01, 0, 0, 0x60, 0xb0]);
}

// 8.3, "Programmable Baud Generator": bit 7 of LCR shows the divisor in the place of the first two registers.
#[test]
fn divisor_latch() {
    let mut uart = enabled(0x05);
    write(&mut uart, LCR, 0x83);
    write(&mut uart, 0, 0x34);
    write(&mut uart, 1, 0x12);
    assert_eq!((uart.read(0, 0), uart.read(1, 0)), (0x34, 0x12));
    write(&mut uart, LCR, 0x03);
    assert_eq!((uart.read(1, 0), uart.read(LCR, 0)), (0x05, 0x03));
    assert_eq!(uart.write(0, b'x', 0), Some(b'x'));
    write(&mut uart, 7, 0xa5);
    assert_eq!(uart.read(7, 0), 0xa5);
}

// 8.5: the transmitter's interrupt comes when it is enabled and after each byte, and goes when it is read as the source.
#[test]
fn transmitter_empty() {
    let mut uart = enabled(0);
    assert!(!uart.interrupt());
    write(&mut uart, IER, 0x02);
    assert!(uart.interrupt());
    assert_eq!((uart.read(IIR, 0), uart.read(IIR, 0)), (0x02, 0x01));
    assert!(!uart.interrupt());
    assert_eq!(uart.write(0, b'a', 0), Some(b'a'));
    assert!(uart.interrupt());
    // A byte sent while the interrupt waits: low for a moment, so that an edge comes.
    uart.take_drop();
    uart.write(0, b'b', 0);
    assert!(uart.take_drop() && uart.interrupt() && !uart.take_drop());
    // Enabled while it is enabled is nothing new.
    uart.read(IIR, 0);
    write(&mut uart, IER, 0x02);
    assert!(!uart.interrupt());
}

// 8.5, "Table IV": line status, then received, then transmitter, then modem; each goes as the table says.
#[test]
fn priorities() {
    let mut uart = enabled(0x0f);
    // In the loop the inputs are other ones than the modem's: they change.
    write(&mut uart, MCR, 0x10);
    write(&mut uart, MCR, 0x0b);
    uart.receive(b'1', 0);
    uart.receive(b'2', 0);
    assert_eq!(uart.read(IIR, 0), 0x06);
    assert_eq!(uart.read(LSR, 0), 0x63);
    assert_eq!(uart.read(LSR, 0), 0x61, "an overrun is told once");
    assert_eq!(uart.read(IIR, 0), 0x04);
    assert_eq!(uart.read(0, 0), b'2', "without FIFOs the new byte takes the place of the old");
    assert_eq!(uart.read(IIR, 0), 0x02);
    assert_eq!(uart.read(IIR, 0), 0x00);
    assert!(uart.interrupt());
    assert_ne!(uart.read(MSR, 0) & 0x0f, 0);
    assert_eq!((uart.read(IIR, 0), uart.read(MSR, 0)), (0x01, 0xb0));
}

// 8.11: the FIFO interrupts at its level, and after four characters' time below it.
#[test]
fn fifo_levels_and_timeout() {
    for (bits, level) in [(0x00, 1), (0x40, 4), (0x80, 8), (0xc0, 14)] {
        let mut uart = enabled(0x01);
        write(&mut uart, FCR, 0x01 | bits);
        for n in 1..=level {
            assert_eq!(uart.read(IIR, 0), 0xc1);
            uart.receive(n, 0);
        }
        assert_eq!(uart.read(IIR, 0), 0xc4);
        uart.read(0, 0);
        assert_eq!(uart.read(IIR, 0), 0xc1);
    }
    let mut uart = enabled(0x01);
    // 115200 bits a second, 8 data bits: ten bits a character.
    for (register, value) in [(LCR, 0x80), (0, 1), (1, 0), (LCR, 0x03), (FCR, 0xc1)] {
        write(&mut uart, register, value);
    }
    uart.receive(b'q', 1000);
    let due = uart.next_event().unwrap();
    assert_eq!(due, 1000 + 4 * 10 * 1_000_000_000 / 115_200);
    uart.advance(due - 1);
    assert!(!uart.interrupt());
    uart.advance(due);
    assert_eq!((uart.interrupt(), uart.read(IIR, due)), (true, 0xcc));
    assert_eq!(uart.read(0, due), b'q');
    assert_eq!((uart.interrupt(), uart.next_event()), (false, None));
}

// 8.4 bit 1: a full FIFO loses the new byte.
#[test]
fn overrun() {
    let mut uart = enabled(0);
    write(&mut uart, FCR, 0x01);
    assert_eq!(uart.room(), FIFO);
    for byte in 0..20 {
        uart.receive(byte, 0);
    }
    assert_eq!((uart.room(), uart.read(LSR, 0) & 0x02), (0, 0x02));
    assert!((0..16).all(|byte| uart.read(0, 0) == byte));
    assert_eq!(uart.read(LSR, 0), 0x60);
}

// 8.5.1: bit 1 empties the receiver, and so does a change of bit 0; the level needs bit 0.
#[test]
fn fifo_control() {
    let mut uart = enabled(0x01);
    write(&mut uart, FCR, 0xc0);
    uart.receive(b'x', 0);
    assert_eq!(uart.read(IIR, 0), 0x04, "no FIFO, no level");
    write(&mut uart, FCR, 0x01);
    assert_eq!((uart.read(LSR, 0), uart.read(IIR, 0)), (0x60, 0xc1));
    uart.receive(b'y', 0);
    write(&mut uart, FCR, 0x01);
    assert_eq!(uart.read(LSR, 0), 0x61);
    write(&mut uart, FCR, 0x03);
    assert_eq!(uart.read(LSR, 0), 0x60);
}

// 8.7 bit 4: the loop, by which drivers find the port; on a PC OUT2 lets the interrupt through.
#[test]
fn loopback_and_out2() {
    let mut uart = enabled(0x01);
    write(&mut uart, MCR, 0x1f);
    assert_eq!(uart.read(MSR, 0) & 0xf0, 0xf0);
    write(&mut uart, MCR, 0x12);
    assert_eq!(uart.read(MSR, 0), 0x10 | 0x0e, "data set ready, ring and carrier went");
    write(&mut uart, LCR, 0x02);
    assert_eq!(uart.write(0, 0xff, 0), None, "nothing leaves");
    uart.receive(b'o', 0);
    assert_eq!(uart.read(0, 0), 0x7f, "seven bits, and nothing from outside");
    assert_eq!(uart.read(LSR, 0), 0x60);
    uart.write(0, 1, 0);
    assert!(!uart.interrupt(), "outputs are inactive in the loop");
    write(&mut uart, MCR, 0x08);
    assert!(uart.interrupt());
    write(&mut uart, MCR, 0x00);
    assert!(!uart.interrupt());
}
