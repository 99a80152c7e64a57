//! A 16550A serial port.
//!
//! Source: National Semiconductor PC16550D data sheet (TL/C/8652), cited by section.
//!
//! What is sent leaves at once, so the transmitter is always empty. What arrives is given by the hypervisor, which asks
//! for [`Uart::room`] first. The modem at the other end is there and ready.

/// The first of the eight ports: COM1.
pub const BASE: u16 = 0x3f8;
/// Bytes that the receiver's FIFO holds.
pub const FIFO: usize = 16;
/// The frequency of the clock input, in Hz; a bit takes 16 times the divisor of its cycles.
const CLOCK: u64 = 1_843_200;

/// Line status (8.4): data ready, overrun, transmitter holding register empty, transmitter empty.
const DATA_READY: u8 = 0x01;
const OVERRUN: u8 = 0x02;
const TRANSMITTER_EMPTY: u8 = 0x60;
/// Modem control (8.7): what the port asserts, and the loop.
const OUT2: u8 = 0x08;
const LOOP: u8 = 0x10;
/// Modem status (8.8): clear to send, data set ready and carrier are there.
const MODEM_READY: u8 = 0xb0;
/// Interrupt enable (8.6).
const ENABLE_RECEIVED: u8 = 0x01;
const ENABLE_TRANSMITTED: u8 = 0x02;
const ENABLE_LINE: u8 = 0x04;
const ENABLE_MODEM: u8 = 0x08;

/// The port.
#[derive(Clone, Copy, Debug)]
pub struct Uart {
    fifo: [u8; FIFO],
    first: usize,
    held: usize,
    fifo_enabled: bool,
    trigger: usize,
    interrupt_enable: u8,
    line_control: u8,
    modem_control: u8,
    scratch: u8,
    divisor: u16,
    overrun: bool,
    /// Bits 3 to 0 of the modem status: what changed.
    modem_changes: u8,
    /// The transmitter became empty, or its interrupt was enabled, and nobody has read so.
    transmitted: bool,
    /// When the FIFO has been left alone for four characters' time.
    timeout_at: Option<u64>,
    timed_out: bool,
    /// The interrupt's line was low for a moment that no level shows.
    dropped: bool,
}

impl Default for Uart {
    fn default() -> Self {
        Self::new()
    }
}

impl Uart {
    /// A port after its reset (8.0, "Table III"), at 9600 bits a second.
    pub const fn new() -> Self {
        Self {
            fifo: [0; FIFO],
            first: 0,
            held: 0,
            fifo_enabled: false,
            trigger: 1,
            interrupt_enable: 0,
            line_control: 0,
            modem_control: 0,
            scratch: 0,
            divisor: 12,
            overrun: false,
            modem_changes: 0,
            transmitted: false,
            timeout_at: None,
            timed_out: false,
            dropped: false,
        }
    }

    /// How many more bytes can be received before one is lost.
    pub const fn room(&self) -> usize {
        (if self.fifo_enabled { FIFO } else { 1 }).saturating_sub(self.held)
    }

    /// A byte arrives, at a time in nanoseconds. Without room it is an overrun, which loses the new one, or without FIFOs
    /// the old one (8.4, bit 1). In the loop nothing comes from outside.
    pub fn receive(&mut self, byte: u8, now: u64) {
        if self.modem_control & LOOP == 0 {
            self.arrive(byte, now);
        }
    }

    fn arrive(&mut self, byte: u8, now: u64) {
        if self.room() == 0 {
            self.overrun = true;
            if self.fifo_enabled {
                return;
            }
            self.held = 0;
        }
        self.fifo[(self.first + self.held) % FIFO] = byte;
        self.held += 1;
        self.restart_timeout(now);
    }

    /// Four times the time of a character as the line is set up (8.11, "FIFO interrupt mode operation"), in nanoseconds.
    fn four_characters(&self) -> u64 {
        let data = 5 + u64::from(self.line_control & 3);
        let stop = 1 + u64::from(self.line_control >> 2 & 1);
        let bits = 1 + data + u64::from(self.line_control >> 3 & 1) + stop;
        // A divisor of 0 stops the clock; no time comes of it, so take the longest.
        let divisor = if self.divisor == 0 { 0x1_0000 } else { u64::from(self.divisor) };
        4 * bits * 16 * divisor * 1_000_000_000 / CLOCK
    }

    fn restart_timeout(&mut self, now: u64) {
        self.timed_out = false;
        let waits = self.fifo_enabled && self.held > 0;
        self.timeout_at = if waits { now.checked_add(self.four_characters()) } else { None };
    }

    /// Lets the time pass: bytes left in the FIFO for long are told of, however few.
    pub fn advance(&mut self, now: u64) {
        if self.timeout_at.is_some_and(|at| at <= now) {
            self.timeout_at = None;
            self.timed_out = true;
        }
    }

    /// When [`Self::advance`] would change the interrupt's line, in nanoseconds.
    pub fn next_event(&self) -> Option<u64> {
        self.timeout_at.filter(|_| self.interrupt_enable & ENABLE_RECEIVED != 0 && !self.interrupt())
    }

    /// Bits 3 to 0 of the interrupt identification, the most urgent source first (8.5, "Table IV").
    fn identification(&self) -> u8 {
        let enabled = |bit| self.interrupt_enable & bit != 0;
        if enabled(ENABLE_LINE) && self.overrun {
            0x06
        } else if enabled(ENABLE_RECEIVED) && self.held >= self.trigger {
            0x04
        } else if enabled(ENABLE_RECEIVED) && self.timed_out {
            0x0c
        } else if enabled(ENABLE_TRANSMITTED) && self.transmitted {
            0x02
        } else if enabled(ENABLE_MODEM) && self.modem_changes != 0 {
            0x00
        } else {
            0x01
        }
    }

    /// The level of the interrupt's line: on a PC the output OUT2 lets it through, and in the loop the outputs are
    /// inactive (8.7, bit 4).
    pub fn interrupt(&self) -> bool {
        self.modem_control & (OUT2 | LOOP) == OUT2 && self.identification() & 1 == 0
    }

    /// Whether the line was low for a moment since the last call, and may be high again: an edge to be passed on.
    pub fn take_drop(&mut self) -> bool {
        core::mem::take(&mut self.dropped)
    }

    /// The modem status's upper half: in the loop the port's own outputs (8.7, bit 4).
    const fn modem_inputs(modem_control: u8) -> u8 {
        if modem_control & LOOP == 0 {
            return MODEM_READY;
        }
        let (dtr, rts) = (modem_control & 1, modem_control >> 1 & 1);
        let (out1, out2) = (modem_control >> 2 & 1, modem_control >> 3 & 1);
        rts << 4 | dtr << 5 | out1 << 6 | out2 << 7
    }

    fn set_modem_control(&mut self, value: u8) {
        let before = Self::modem_inputs(self.modem_control);
        self.modem_control = value & 0x1f;
        let after = Self::modem_inputs(self.modem_control);
        // Of the ring indicator only the end counts (8.8, bit 2).
        let changes = (before ^ after) & 0xb0 | (before & !after & 0x40);
        self.modem_changes |= changes >> 4;
    }

    fn divisor_latch(&self) -> bool {
        self.line_control & 0x80 != 0
    }

    /// Reads one of the eight registers, at a time in nanoseconds.
    pub fn read(&mut self, register: u16, now: u64) -> u8 {
        match register & 7 {
            0 if self.divisor_latch() => self.divisor.to_le_bytes()[0],
            1 if self.divisor_latch() => self.divisor.to_le_bytes()[1],
            0 => self.take_received(now),
            1 => self.interrupt_enable,
            2 => {
                let identification = self.identification();
                if identification == 0x02 {
                    // Read while it is the source shown, it is told (8.5, "Table IV").
                    self.transmitted = false;
                    self.dropped = true;
                }
                identification | if self.fifo_enabled { 0xc0 } else { 0 }
            }
            3 => self.line_control,
            4 => self.modem_control,
            5 => {
                let overrun = if core::mem::take(&mut self.overrun) { OVERRUN } else { 0 };
                let ready = if self.held > 0 { DATA_READY } else { 0 };
                self.dropped |= overrun != 0;
                TRANSMITTER_EMPTY | overrun | ready
            }
            6 => {
                let changes = core::mem::take(&mut self.modem_changes);
                self.dropped |= changes != 0;
                Self::modem_inputs(self.modem_control) | changes
            }
            _ => self.scratch,
        }
    }

    fn take_received(&mut self, now: u64) -> u8 {
        let byte = self.fifo[self.first];
        if self.held > 0 {
            self.held -= 1;
            self.first = (self.first + 1) % FIFO;
            self.dropped |= self.timed_out || self.held + 1 == self.trigger;
            self.restart_timeout(now);
        }
        byte
    }

    /// Writes one of the eight registers, at a time in nanoseconds: the byte that is sent by it, if one is.
    pub fn write(&mut self, register: u16, value: u8, now: u64) -> Option<u8> {
        let [low, high] = self.divisor.to_le_bytes();
        match register & 7 {
            0 if self.divisor_latch() => self.divisor = u16::from_le_bytes([value, high]),
            1 if self.divisor_latch() => self.divisor = u16::from_le_bytes([low, value]),
            0 => return self.send(value, now),
            1 => {
                let added = value & !self.interrupt_enable;
                self.interrupt_enable = value & 0x0f;
                // Enabled while the transmitter is empty, it interrupts at once (8.6, bit 1; 8.5).
                self.transmitted |= added & ENABLE_TRANSMITTED != 0;
            }
            2 => self.set_fifo_control(value),
            3 => self.line_control = value,
            4 => self.set_modem_control(value),
            // The status registers are read-only (8.4; what a write to them does is for the factory).
            5 | 6 => {}
            _ => self.scratch = value,
        }
        None
    }

    /// Sends a byte, or hands it to the receiver in the loop. The holding register is full for a moment and then empty
    /// again: the interrupt goes and comes.
    fn send(&mut self, byte: u8, now: u64) -> Option<u8> {
        self.transmitted = true;
        self.dropped = true;
        if self.modem_control & LOOP == 0 {
            return Some(byte);
        }
        self.arrive(byte & self.data_mask(), now);
        None
    }

    /// The bits of a character on the line.
    const fn data_mask(&self) -> u8 {
        0xff >> (3 - (self.line_control & 3))
    }

    /// The FIFO control register (8.5.1).
    fn set_fifo_control(&mut self, value: u8) {
        let enable = value & 1 != 0;
        if enable != self.fifo_enabled || (enable && value & 2 != 0) {
            self.held = 0;
            self.timeout_at = None;
            self.timed_out = false;
        }
        self.fifo_enabled = enable;
        // "Must be a 1 when other FCR bits are written to or they will not be programmed."
        self.trigger = match (enable, value >> 6) {
            (false, _) | (true, 0) => 1,
            (true, 1) => 4,
            (true, 2) => 8,
            (true, _) => 14,
        };
    }
}
