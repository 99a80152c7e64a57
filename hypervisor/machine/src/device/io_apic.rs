//! The first I/O APIC (82093AA data sheet): nothing but NMIs for tests come through it; devices' interrupts come through
//! the 8259s. After reset all its pins are masked.

use crate::direct_map;

/// Where its registers are on every PC (82093AA data sheet, 3.0).
pub const PHYSICAL_BASE: u64 = 0xfec0_0000;

/// The pin of the 8254's first channel (MPS 1.4, 3.6.1; ACPI's tables say the same where it is so).
pub const PIN_8254: u8 = 2;

/// The register that selects another one, and the window to that.
const SELECT: u64 = 0x00;
const WINDOW: u64 = 0x10;
/// The first pin's entry: two registers for each.
const REDIRECTION: u32 = 0x10;

const DELIVERY_NMI: u32 = 4 << 8;
const MASKED: u32 = 1 << 16;

fn write(register: u32, value: u32) {
    // SAFETY: the register page is mapped uncached at this address of the direct map.
    unsafe {
        direct_map::pointer::<u32>(PHYSICAL_BASE + SELECT).write_volatile(register);
        direct_map::pointer::<u32>(PHYSICAL_BASE + WINDOW).write_volatile(value);
    }
}

/// Each edge of a pin is an NMI of a processor.
pub fn raise_nmi(pin: u8, apic_id: u8) {
    let entry = REDIRECTION + 2 * u32::from(pin);
    write(entry, MASKED);
    write(entry + 1, u32::from(apic_id) << 24);
    write(entry, DELIVERY_NMI);
}

/// A pin raises nothing.
pub fn mask(pin: u8) {
    write(REDIRECTION + 2 * u32::from(pin), MASKED);
}
