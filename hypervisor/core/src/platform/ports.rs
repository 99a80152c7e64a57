//! The bus: which port belongs to which device, wide accesses, and the ports that end the machine.

use super::cmos::Cmos;
use super::pic::Pic;
use super::pit::Pit;
use super::uart::{self, Uart};

/// How wide an access is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One byte.
    Byte = 1,
    /// Two bytes.
    Word = 2,
    /// Four bytes.
    Long = 4,
}

impl Width {
    /// The width of so many bytes, if there is one.
    pub const fn of(bytes: usize) -> Option<Self> {
        match bytes {
            1 => Some(Self::Byte),
            2 => Some(Self::Word),
            4 => Some(Self::Long),
            _ => None,
        }
    }

    /// The bits of an access.
    pub const fn mask(self) -> u32 {
        match self {
            Self::Byte => 0xff,
            Self::Word => 0xffff,
            Self::Long => 0xffff_ffff,
        }
    }
}

/// What a write did outside the platform. One access has one effect at most: no two such ports are within four bytes of
/// each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// This byte was sent to the console.
    Console(u8),
    /// The machine ends, with this value written to the exit port.
    Exit(u32),
    /// The machine starts again.
    Reboot,
}

/// The port at which `cargo xtask qemu` puts QEMU's isa-debug-exit device on a real machine; four of them.
pub const EXIT: u16 = 0xf4;
const EXIT_LAST: u16 = EXIT + 3;

/// What is written there: by the hypervisor on a real machine, and by kernels that believe themselves on one.
pub mod verdict {
    /// All is done.
    pub const POWER_OFF: u8 = 0x10;
    /// A kernel is broken.
    pub const GUEST_CRASH: u8 = 0x11;
    /// The hypervisor is.
    pub const PANIC: u8 = 0x12;
    /// Start again.
    pub const REBOOT: u8 = 0x13;
}
/// The keyboard controller's status and command port, and its command that pulses the reset line (IBM PC/AT technical
/// reference, "Keyboard Controller").
const KEYBOARD: u16 = 0x64;
const PULSE_RESET: u8 = 0xfe;
/// System control port A: bit 0 resets, bit 1 lets address line 20 through (PIIX3 data sheet, "Port 92").
const PORT_92: u16 = 0x92;
/// The reset control register: a rising bit 2 resets (PIIX3 data sheet, "RC").
const RESET_CONTROL: u16 = 0xcf9;
/// PCI configuration mechanism 1: address, a Long and nothing else, and data (PCI Local Bus 2.2, section 3.2.2.3.2).
const PCI_ADDRESS: u16 = 0xcf8;

/// The devices on the bus.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bus {
    pub(super) pic: Pic,
    pub(super) pit: Pit,
    pub(super) uart: Uart,
    pub(super) cmos: Cmos,
    port_92: u8,
    reset_control: u8,
    pci_address: u32,
}

impl Bus {
    pub(super) fn new(cmos: Cmos) -> Self {
        Self {
            pic: Pic::new(),
            pit: Pit::new(),
            uart: Uart::new(),
            cmos,
            port_92: 0x02,
            reset_control: 0,
            pci_address: 0,
        }
    }

    /// Reads. A port that nobody claims reads as ones, as nobody drives the lines; so does what lies above the last port.
    pub(super) fn read(&mut self, port: u16, width: Width, now: u64) -> u32 {
        match (port, width) {
            (PCI_ADDRESS, Width::Long) => return self.pci_address,
            (EXIT..=EXIT_LAST, _) => return 0,
            _ => {}
        }
        let mut value = 0;
        for n in 0..width as u16 {
            let byte = port.checked_add(n).map_or(0xff, |port| self.read_byte(port, now));
            value |= u32::from(byte) << (8 * n);
        }
        value
    }

    fn read_byte(&mut self, port: u16, now: u64) -> u8 {
        if let Some(value) = self.pic.read(port) {
            return value;
        }
        if let Some(value) = self.pit.read(port, now) {
            return value;
        }
        if let Some(value) = self.cmos.read(port, now) {
            return value;
        }
        match port {
            uart::BASE..=0x3ff => self.uart.read(port - uart::BASE, now),
            // No keyboard: nothing to read, and always ready for a command.
            KEYBOARD => 0,
            PORT_92 => self.port_92,
            RESET_CONTROL => self.reset_control,
            // PCI data, too: no device answers, whatever the address.
            _ => 0xff,
        }
    }

    /// Writes. What nobody claims is lost.
    pub(super) fn write(&mut self, port: u16, width: Width, value: u32, now: u64) -> Effect {
        match (port, width) {
            (PCI_ADDRESS, Width::Long) => {
                // Bits 30 to 24 and 1 to 0 are reserved, and read as 0.
                self.pci_address = value & 0x80ff_fffc;
                return Effect::Nothing;
            }
            // The device takes all four widths at once (QEMU, hw/misc/debugexit.c).
            (EXIT..=EXIT_LAST, _) => return Effect::Exit(value & width.mask()),
            _ => {}
        }
        let mut effect = Effect::Nothing;
        for (n, byte) in (0..width as u16).zip(value.to_le_bytes()) {
            let done = port.checked_add(n).map(|port| self.write_byte(port, byte, now));
            effect = done.filter(|done| *done != Effect::Nothing).unwrap_or(effect);
        }
        effect
    }

    fn write_byte(&mut self, port: u16, value: u8, now: u64) -> Effect {
        if self.pic.write(port, value)
            || self.pit.write(port, value, now)
            || self.cmos.write(port, value, now)
        {
            return Effect::Nothing;
        }
        match port {
            uart::BASE..=0x3ff => {
                self.uart.write(port - uart::BASE, value, now).map_or(Effect::Nothing, Effect::Console)
            }
            // A narrow access that ends in the exit port's bytes.
            EXIT..=EXIT_LAST => Effect::Exit(u32::from(value)),
            KEYBOARD if value == PULSE_RESET => Effect::Reboot,
            PORT_92 => {
                let rises = value & !self.port_92 & 1 != 0;
                self.port_92 = value;
                if rises { Effect::Reboot } else { Effect::Nothing }
            }
            RESET_CONTROL => {
                let rises = value & !self.reset_control & 4 != 0;
                self.reset_control = value & 0x06;
                if rises { Effect::Reboot } else { Effect::Nothing }
            }
            _ => Effect::Nothing,
        }
    }
}
