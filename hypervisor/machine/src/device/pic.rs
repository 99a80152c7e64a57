//! The two 8259 interrupt controllers: out of the way of the guests' vectors, and only COM1 let through.

use x86_64::instructions::port::Port;

/// Vector of line 0; lines 0 to 15 take 0xe0 to 0xef.
pub const VECTOR_BASE: u8 = 0xe0;

const COMMAND: [u16; 2] = [0x20, 0xa0];
const DATA: [u16; 2] = [0x21, 0xa1];
const END_OF_INTERRUPT: u8 = 0x20;

fn write(port: u16, value: u8) {
    // SAFETY: the controllers' own ports; nobody else drives them.
    unsafe { Port::<u8>::new(port).write(value) }
}

/// Moves both controllers to [`VECTOR_BASE`] and masks every line but `enabled_line` (below 8).
pub fn initialise(enabled_line: u8) {
    for controller in 0..2 {
        write(COMMAND[controller], 0x11);
        write(DATA[controller], VECTOR_BASE + 8 * controller as u8);
        write(DATA[controller], if controller == 0 { 1 << 2 } else { 2 });
        write(DATA[controller], 0x01);
    }
    write(DATA[0], !(1 << enabled_line));
    write(DATA[1], 0xff);
}

/// Acknowledges the interrupt on a line of the first controller.
pub fn acknowledge() {
    write(COMMAND[0], END_OF_INTERRUPT);
}
