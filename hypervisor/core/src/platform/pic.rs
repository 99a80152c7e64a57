//! The two 8259A interrupt controllers of a PC, the second cascaded on input 2 of the first.
//!
//! Source: Intel 8259A data sheet (order number 231468), cited by the title of its section; for the edge/level registers,
//! which the 8259A does not have, the 82371SB (PIIX3) data sheet, section 2.5.2.

/// Ports of the first controller: command and data.
pub const MASTER: u16 = 0x20;
/// Ports of the second controller: command and data.
pub const SLAVE: u16 = 0xa0;
/// The edge/level control registers, of the first and of the second controller.
pub const ELCR: u16 = 0x4d0;
/// The first controller's input that the second one's output is wired to.
const CASCADE: u8 = 2;
/// Inputs that may be level triggered. The rest (timer, keyboard, cascade; clock, coprocessor) are always edges: PIIX3
/// data sheet, ELCR1 and ELCR2.
const LEVEL_ALLOWED: [u8; 2] = [0xf8, 0xde];

/// What the next write to the data port is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expected {
    /// The interrupt mask, OCW1.
    #[default]
    Mask,
    /// The vector base.
    Icw2,
    /// The cascade's wiring.
    Icw3,
    /// The mode.
    Icw4,
}

/// One 8259A.
#[derive(Clone, Copy, Debug)]
struct Chip {
    /// Levels at the inputs.
    lines: u8,
    /// Inputs at which an edge came that was not acknowledged: the edge sense latches.
    edges: u8,
    /// Inputs that are level triggered.
    levels: u8,
    /// Inputs that may be.
    levels_allowed: u8,
    masked: u8,
    in_service: u8,
    /// The input with the lowest priority; the next one has the highest.
    lowest: u8,
    /// The five upper bits of the vectors.
    base: u8,
    expected: Expected,
    /// ICW1 announced that an ICW3, an ICW4 will follow.
    cascaded: bool,
    icw4_follows: bool,
    auto_eoi: bool,
    rotate_in_auto_eoi: bool,
    special_fully_nested: bool,
    special_mask: bool,
    read_in_service: bool,
    poll: bool,
}

impl Chip {
    /// A controller that was not initialised: the data sheet leaves its state open, here everything is masked.
    const fn new(levels_allowed: u8, base: u8) -> Self {
        Self {
            lines: 0,
            edges: 0,
            levels: 0,
            levels_allowed,
            masked: 0xff,
            in_service: 0,
            lowest: 7,
            base,
            expected: Expected::Mask,
            cascaded: true,
            icw4_follows: false,
            auto_eoi: false,
            rotate_in_auto_eoi: false,
            special_fully_nested: false,
            special_mask: false,
            read_in_service: false,
            poll: false,
        }
    }

    /// The interrupt request register.
    ///
    /// "Edge and Level Triggered Modes" wants an input to stay high until it is acknowledged in both modes. Here, as in
    /// QEMU's and KVM's controllers, an edge is remembered: a virtual processor that did not run while the line was high
    /// would lose timer interrupts that a real one takes.
    const fn requests(&self) -> u8 {
        self.edges & !self.levels | self.lines & self.levels
    }

    fn set_line(&mut self, input: u8, level: bool) {
        let bit = 1 << (input & 7);
        if !level {
            self.lines &= !bit;
        } else if self.lines & bit == 0 {
            self.lines |= bit;
            self.edges |= bit & !self.levels;
        }
    }

    /// The set input of the highest priority, and its rank: 0 the highest, 8 for none.
    fn first(&self, set: u8) -> (u8, u8) {
        for rank in 0..8 {
            let input = (self.lowest + 1 + rank) & 7;
            if set & (1 << input) != 0 {
                return (input, rank);
            }
        }
        (7, 8)
    }

    /// The input to be served next, if one has a request of higher priority than what is in service ("Fully Nested
    /// Mode").
    fn next(&self) -> Option<u8> {
        let (input, rank) = self.first(self.requests() & !self.masked);
        let mut holding = self.in_service;
        if self.special_mask {
            // "Special Mask Mode": a masked input in service holds nothing back.
            holding &= !self.masked;
        }
        if self.special_fully_nested {
            // "Special Fully Nested Mode": the slave may ask again while it is served.
            holding &= !(1 << CASCADE);
        }
        (rank < self.first(holding).1).then_some(input)
    }

    /// The processor's INTA cycle, or the read of a poll: the input that is served now, `None` if the request is gone.
    fn acknowledge(&mut self) -> Option<u8> {
        let input = self.next()?;
        let bit = 1 << input;
        self.edges &= !bit;
        if self.auto_eoi {
            // "Automatic End of Interrupt Mode": at the trailing edge of the last INTA pulse.
            if self.rotate_in_auto_eoi {
                self.lowest = input;
            }
        } else {
            self.in_service |= bit;
        }
        Some(input)
    }

    fn write_command(&mut self, value: u8) {
        if value & 0x10 != 0 {
            self.initialise(value);
        } else if value & 0x08 != 0 {
            self.ocw3(value);
        } else {
            self.ocw2(value);
        }
    }

    /// ICW1 ("Initialization Command Words 1 and 2", a to f). Bit 3, all inputs level triggered, has no effect where the
    /// ELCR chooses (PIIX3, ICW1). What was in service is so no longer: the data sheet does not say, but a kernel that is
    /// started by another expects it.
    fn initialise(&mut self, value: u8) {
        self.edges = 0;
        self.masked = 0;
        self.in_service = 0;
        self.lowest = 7;
        self.special_mask = false;
        self.read_in_service = false;
        self.poll = false;
        self.cascaded = value & 0x02 == 0;
        self.icw4_follows = value & 0x01 != 0;
        if !self.icw4_follows {
            self.icw4(0);
        }
        self.expected = Expected::Icw2;
    }

    fn icw4(&mut self, value: u8) {
        self.auto_eoi = value & 0x02 != 0;
        self.special_fully_nested = value & 0x10 != 0;
    }

    /// "Operation Control Word 2": ends of interrupts and priorities.
    fn ocw2(&mut self, value: u8) {
        let (command, input) = (value >> 5, value & 7);
        match command {
            0b001 | 0b101 => {
                // "A masked ISR bit will not be cleared by a non-specific EOI in the Special Mask Mode."
                let ended = if self.special_mask { self.in_service & !self.masked } else { self.in_service };
                let (input, rank) = self.first(ended);
                if rank < 8 {
                    self.in_service &= !(1 << input);
                    if command == 0b101 {
                        self.lowest = input;
                    }
                }
            }
            0b011 => self.in_service &= !(1 << input),
            0b111 => {
                self.in_service &= !(1 << input);
                self.lowest = input;
            }
            0b110 => self.lowest = input,
            0b100 => self.rotate_in_auto_eoi = true,
            0b000 => self.rotate_in_auto_eoi = false,
            // 0b010: no operation.
            _ => {}
        }
    }

    /// "Operation Control Word 3": special mask mode, poll, and which register is read.
    fn ocw3(&mut self, value: u8) {
        if value & 0x40 != 0 {
            self.special_mask = value & 0x20 != 0;
        }
        self.poll = value & 0x04 != 0;
        if value & 0x02 != 0 {
            self.read_in_service = value & 0x01 != 0;
        }
    }

    fn write_data(&mut self, value: u8) {
        match self.expected {
            Expected::Mask => self.masked = value,
            Expected::Icw2 => {
                self.base = value & 0xf8;
                self.expected = match (self.cascaded, self.icw4_follows) {
                    (true, _) => Expected::Icw3,
                    (false, true) => Expected::Icw4,
                    (false, false) => Expected::Mask,
                };
            }
            // The wiring is the board's: only 4 and 2 are right here, and nothing is made of others.
            Expected::Icw3 => {
                self.expected = if self.icw4_follows { Expected::Icw4 } else { Expected::Mask };
            }
            Expected::Icw4 => {
                self.icw4(value);
                self.expected = Expected::Mask;
            }
        }
    }

    /// A read of the command port (`data` false) or of the data port. After a poll command the next read, whichever it
    /// is, acknowledges ("Poll Command").
    fn read(&mut self, data: bool) -> u8 {
        if core::mem::take(&mut self.poll) {
            return self.acknowledge().map_or(0, |input| 0x80 | input);
        }
        match (data, self.read_in_service) {
            (true, _) => self.masked,
            (false, true) => self.in_service,
            (false, false) => self.requests(),
        }
    }
}

/// The pair. Interrupts are numbered 0 to 15, as on the board.
#[derive(Clone, Copy, Debug)]
pub struct Pic {
    chips: [Chip; 2],
}

impl Default for Pic {
    fn default() -> Self {
        Self::new()
    }
}

impl Pic {
    /// Both controllers as they are before a kernel initialises them: everything masked.
    pub const fn new() -> Self {
        Self { chips: [Chip::new(LEVEL_ALLOWED[0], 0x08), Chip::new(LEVEL_ALLOWED[1], 0x70)] }
    }

    /// An interrupt's line goes high. Lines above 15 do not exist.
    pub fn raise(&mut self, irq: u8) {
        self.set(irq, true);
    }

    /// An interrupt's line goes low. A request that was not acknowledged is gone with it.
    pub fn lower(&mut self, irq: u8) {
        self.set(irq, false);
    }

    fn set(&mut self, irq: u8, level: bool) {
        if irq < 16 && irq != CASCADE {
            self.chips[usize::from(irq >> 3)].set_line(irq & 7, level);
            self.cascade();
        }
    }

    /// Passes the second controller's output on to the first one's input.
    fn cascade(&mut self) {
        let output = self.chips[1].next().is_some();
        self.chips[0].set_line(CASCADE, output);
    }

    /// Whether the output to the processor is high.
    pub fn pending(&self) -> bool {
        self.chips[0].next().is_some()
    }

    /// Whether an edge on this line now would change nothing that can be seen: it is masked on its way, or its last edge
    /// waits to be acknowledged.
    pub fn is_deaf_to(&self, irq: u8) -> bool {
        let bit = 1 << (irq & 7);
        let chip = &self.chips[usize::from(irq >> 3) & 1];
        chip.masked & bit != 0 || chip.edges & bit != 0
    }

    /// The processor's acknowledge: the vector. It is that of interrupt 7 or 15, with nothing in service, if the request
    /// is gone ("Edge and Level Triggered Modes": default IR7).
    pub fn acknowledge(&mut self) -> u8 {
        let Some(input) = self.chips[0].acknowledge() else {
            return self.chips[0].base | 7;
        };
        if input != CASCADE {
            return self.chips[0].base | input;
        }
        let served = self.chips[1].acknowledge().unwrap_or(7);
        // The output falls with the acknowledge, so that what still waits makes an edge.
        self.chips[0].set_line(CASCADE, false);
        self.cascade();
        self.chips[1].base | served
    }

    /// Reads one of the ports; `None` if it is not one of the pair's.
    pub fn read(&mut self, port: u16) -> Option<u8> {
        let value = match port {
            MASTER | 0x21 => self.chips[0].read(port & 1 != 0),
            SLAVE | 0xa1 => {
                if self.chips[1].poll {
                    self.chips[0].set_line(CASCADE, false);
                }
                self.chips[1].read(port & 1 != 0)
            }
            ELCR | 0x4d1 => return Some(self.chips[usize::from(port & 1)].levels),
            _ => return None,
        };
        self.cascade();
        Some(value)
    }

    /// Writes one of the ports; whether it is one of the pair's.
    pub fn write(&mut self, port: u16, value: u8) -> bool {
        match port {
            MASTER => self.chips[0].write_command(value),
            0x21 => self.chips[0].write_data(value),
            SLAVE => self.chips[1].write_command(value),
            0xa1 => self.chips[1].write_data(value),
            ELCR | 0x4d1 => {
                let chip = &mut self.chips[usize::from(port & 1)];
                chip.levels = value & chip.levels_allowed;
            }
            _ => return false,
        }
        self.cascade();
        true
    }

    /// Inputs in service, of both: bit n for interrupt n.
    #[cfg(test)]
    pub(super) fn in_service(&self) -> u16 {
        u16::from_le_bytes(self.chips.map(|chip| chip.in_service))
    }

    /// Requests, of both: bit n for interrupt n.
    #[cfg(test)]
    pub(super) fn requests(&self) -> u16 {
        u16::from_le_bytes(self.chips.map(|chip| chip.requests()))
    }
}
