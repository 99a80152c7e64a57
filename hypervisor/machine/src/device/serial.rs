//! COM1, a 16550: the hypervisor's log and the guests' console.

use paravane_core::console::OpenLine;
use paravane_core::lock::Rank;
use x86_64::instructions::port::Port;

use crate::cpu::local::Lock;

const COM1: u16 = 0x3f8;
/// The interrupt line of COM1 on the interrupt controllers.
pub const IRQ: u8 = 4;

const LINE_STATUS_DATA_READY: u8 = 1 << 0;
const LINE_STATUS_TRANSMITTER_EMPTY: u8 = 1 << 5;
/// A transmitter that stays busy for this many reads is broken or absent; the byte is dropped.
const SPIN_LIMIT: u32 = 100_000;

/// A 16550-compatible port.
pub struct Serial {
    base: u16,
    /// The transmitter once stayed busy for the whole limit, and has not been seen ready since.
    stuck: bool,
    /// What the guest that has the console has sent of a line.
    open: OpenLine,
}

/// The port everything is printed to.
pub static COM1_PORT: Lock<Serial> = Lock::new(Rank::Serial, Serial::new(OpenLine::new()));

impl Serial {
    const fn new(open: OpenLine) -> Self {
        Self { base: COM1, stuck: false, open }
    }

    /// The port, whoever holds its lock.
    ///
    /// # Safety
    /// Nobody who holds the lock goes on.
    pub const unsafe fn seized() -> Self {
        Self::new(OpenLine::unknown())
    }

    fn register(&self, offset: u16) -> Port<u8> {
        Port::new(self.base + offset)
    }

    fn write_register(&mut self, offset: u16, value: u8) {
        // SAFETY: the registers of COM1; the hypervisor is the only user of the port, and the lock holds.
        unsafe { self.register(offset).write(value) }
    }

    fn read_register(&mut self, offset: u16) -> u8 {
        // SAFETY: as in `write_register`; reads have no effect but to take the received byte.
        unsafe { self.register(offset).read() }
    }

    /// Sets 8 data bits, no parity, one stop bit and the speed in bits a second; interrupts stay off.
    pub fn initialise(&mut self, baud: u32) {
        let divisor = (115_200 / baud.clamp(1, 115_200)) as u16;
        self.write_register(1, 0);
        self.write_register(3, 0x80);
        self.write_register(0, divisor as u8);
        self.write_register(1, (divisor >> 8) as u8);
        self.write_register(3, 0x03);
        self.write_register(2, 0xc7);
        self.write_register(4, 0x0b);
    }

    /// Lets received bytes raise the interrupt line.
    pub fn enable_receive_interrupt(&mut self) {
        self.write_register(1, 0x01);
    }

    /// Sends one byte as it is.
    pub fn send(&mut self, byte: u8) {
        // A transmitter that is stuck is waited for once, not for every byte a guest prints.
        let limit = if self.stuck { 1 } else { SPIN_LIMIT };
        for _ in 0..limit {
            if self.read_register(5) & LINE_STATUS_TRANSMITTER_EMPTY != 0 {
                self.stuck = false;
                self.write_register(0, byte);
                return;
            }
        }
        self.stuck = true;
    }

    /// Sends bytes as they are, of which others' lines are kept apart.
    pub fn send_open(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.send(*byte));
        self.open.note(bytes);
    }

    /// Sends whole lines: what `lines` sends.
    pub fn send_lines(&mut self, lines: impl FnOnce(&mut Self)) {
        self.open.leave().iter().for_each(|byte| self.send(*byte));
        lines(self);
        let mut open = core::mem::take(&mut self.open);
        open.resume().iter().for_each(|byte| self.send(*byte));
        self.open = open;
    }

    /// The next received byte, if there is one.
    pub fn receive(&mut self) -> Option<u8> {
        (self.read_register(5) & LINE_STATUS_DATA_READY != 0).then(|| self.read_register(0))
    }
}

impl core::fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.send(b'\r');
            }
            self.send(byte);
        }
        Ok(())
    }
}
