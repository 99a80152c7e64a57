//! The pair of 8259 interrupt controllers (Intel's data sheet 231468). All lines are masked but those this kernel has a use
//! for.

use x86_64::instructions::port::Port;

use super::{FIRST_IRQ, pit, serial};

const FIRST: u16 = 0x20;
const SECOND: u16 = 0xa0;
/// The line of the first controller at which the second one is.
const CASCADE: u8 = 2;
/// Initialise, with a fourth word to come.
const INITIALISE: u8 = 0x11;
/// 8086 mode, interrupts acknowledged by command.
const MODE: u8 = 0x01;
/// The next read of the command port gives the lines in service.
const READ_IN_SERVICE: u8 = 0x0b;
/// The interrupt in service with the highest priority has been taken.
const END: u8 = 0x20;

fn command(controller: u16, value: u8) {
    // SAFETY: the controllers' ports are this kernel's.
    unsafe { Port::new(controller).write(value) };
}

fn data(controller: u16, value: u8) {
    command(controller + 1, value);
}

/// Gives the lines vectors behind the exceptions', and masks all but those in use.
pub fn init() {
    let first = FIRST_IRQ as u8;
    for (controller, vector, wired) in [(FIRST, first, 1 << CASCADE), (SECOND, first + 8, CASCADE)] {
        command(controller, INITIALISE);
        data(controller, vector);
        data(controller, wired);
        data(controller, MODE);
    }
    data(FIRST, !(1 << pit::IRQ | 1 << serial::IRQ | 1 << CASCADE));
    data(SECOND, !0);
}

fn in_service(controller: u16) -> u8 {
    command(controller, READ_IN_SERVICE);
    // SAFETY: as above.
    unsafe { Port::new(controller).read() }
}

/// Takes note of a line's interrupt; false when there was none: a controller whose request goes away raises its lowest line,
/// and expects no end of it.
pub fn acknowledge(line: u8) -> bool {
    let (controller, bit) = if line < 8 { (FIRST, line) } else { (SECOND, line - 8) };
    let spurious = bit == 7 && in_service(controller) & 1 << 7 == 0;
    if !spurious {
        command(controller, END);
    }
    if controller == SECOND {
        command(FIRST, END);
    }
    !spurious
}
