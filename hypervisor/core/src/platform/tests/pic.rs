//! Rules of the 8259A data sheet, by section.

use crate::platform::pic::Pic;

/// A pair as a PC's kernel sets it up, vectors from 0x20 on, nothing masked. `icw4` of both.
fn initialised_with(icw4: u8) -> Pic {
    let mut pic = Pic::new();
    for (port, base, wiring) in [(0x20, 0x20, 4), (0xa0, 0x28, 2)] {
        pic.write(port, 0x11);
        pic.write(port + 1, base);
        pic.write(port + 1, wiring);
        pic.write(port + 1, icw4);
    }
    pic
}

fn initialised() -> Pic {
    initialised_with(0x01)
}

fn pulse(pic: &mut Pic, irq: u8) {
    pic.raise(irq);
    pic.lower(irq);
}

// "Initialization Command Words": ICW1 clears the mask and the edges; nothing comes before.
#[test]
fn initialisation() {
    let mut pic = Pic::new();
    pic.raise(1);
    assert!(!pic.pending(), "masked until a kernel comes");
    let mut pic = initialised();
    assert_eq!((pic.read(0x21), pic.read(0xa1)), (Some(0), Some(0)));
    pic.raise(1);
    assert!(pic.pending());
    for (port, value) in [(0x20, 0x11), (0x21, 0x40), (0x21, 0x04), (0x21, 0x01)] {
        assert!(pic.write(port, value));
    }
    assert!(!pic.pending(), "the line is high, but a new edge is needed");
    pulse(&mut pic, 1);
    pic.raise(1);
    assert_eq!(pic.acknowledge(), 0x41);
}

// ICW1 bits 1 and 0: what follows ICW2.
#[test]
fn short_initialisations() {
    let mut pic = initialised();
    // Single, no ICW4: the second data write is a mask already.
    for (port, value) in [(0x20, 0x12), (0x21, 0x30), (0x21, 0xfe)] {
        pic.write(port, value);
    }
    assert_eq!(pic.read(0x21), Some(0xfe));
    pulse(&mut pic, 0);
    assert_eq!(pic.acknowledge(), 0x30);
    // Single with ICW4; cascaded without.
    for (port, value) in [(0x20, 0x13), (0x21, 0x30), (0x21, 0x01), (0x21, 0xfd)] {
        pic.write(port, value);
    }
    assert_eq!(pic.read(0x21), Some(0xfd));
    for (port, value) in [(0x20, 0x10), (0x21, 0x30), (0x21, 0x04), (0x21, 0xfb)] {
        pic.write(port, value);
    }
    assert_eq!(pic.read(0x21), Some(0xfb));
}

// "Fully Nested Mode": the lowest number first, and only what is more urgent than what is served.
#[test]
fn priorities() {
    let mut pic = initialised();
    for irq in [5, 3, 7] {
        pulse(&mut pic, irq);
    }
    assert_eq!(pic.acknowledge(), 0x23);
    assert!(!pic.pending(), "5 is less urgent than 3");
    pulse(&mut pic, 1);
    assert_eq!(pic.acknowledge(), 0x21);
    pic.write(0x20, 0x20);
    assert_eq!(pic.in_service(), 1 << 3);
    assert!(!pic.pending());
    pic.write(0x20, 0x20);
    assert_eq!(pic.acknowledge(), 0x25);
}

// "End of Interrupt": the specific one ends the level it names.
#[test]
fn specific_end() {
    let mut pic = initialised();
    pulse(&mut pic, 3);
    pic.acknowledge();
    pulse(&mut pic, 1);
    pic.acknowledge();
    pic.write(0x20, 0x63);
    assert_eq!(pic.in_service(), 1 << 1);
}

// "Automatic Rotation (Equal Priority Devices)", "Specific Rotation (Specific Priority)".
#[test]
fn rotation() {
    let mut pic = initialised();
    pulse(&mut pic, 3);
    pic.acknowledge();
    pic.write(0x20, 0xa0);
    for irq in [3, 4] {
        pulse(&mut pic, irq);
    }
    assert_eq!(pic.acknowledge(), 0x24, "3 was served and has the lowest priority");
    // Rotate on specific EOI: 4 ends, and is the lowest.
    pic.write(0x20, 0xe4);
    assert_eq!(pic.in_service(), 0);
    pulse(&mut pic, 5);
    assert_eq!(pic.acknowledge(), 0x25);
    pic.write(0x20, 0x65);
    // Set priority alone: 7 the lowest again, 0 the highest.
    pic.write(0x20, 0xc7);
    pulse(&mut pic, 0);
    assert_eq!(pic.acknowledge(), 0x20);
    // No operation.
    pic.write(0x20, 0x40);
    assert_eq!(pic.in_service(), 1);
}

// "Automatic End of Interrupt (AEOI) Mode", with and without rotation.
#[test]
fn automatic_end() {
    let mut pic = initialised_with(0x03);
    for irq in [3, 4] {
        pulse(&mut pic, irq);
    }
    assert_eq!((pic.acknowledge(), pic.in_service()), (0x23, 0));
    assert_eq!(pic.acknowledge(), 0x24);
    pic.write(0x20, 0x80);
    pulse(&mut pic, 3);
    pic.acknowledge();
    for irq in [3, 4] {
        pulse(&mut pic, irq);
    }
    assert_eq!(pic.acknowledge(), 0x24);
    // Rotation ends with "clear": the order stays as it is now.
    pic.write(0x20, 0x00);
    assert_eq!(pic.acknowledge(), 0x23);
    for irq in [3, 5] {
        pulse(&mut pic, irq);
    }
    assert_eq!(pic.acknowledge(), 0x25);
    // ICW1 without ICW4 clears its functions.
    for (port, value) in [(0x20, 0x10), (0x21, 0x20), (0x21, 0x04)] {
        pic.write(port, value);
    }
    pulse(&mut pic, 6);
    assert_eq!((pic.acknowledge(), pic.in_service()), (0x26, 1 << 6));
}

// "Special Mask Mode": a masked level in service lets all others through, and non-specific EOIs pass it by.
#[test]
fn special_mask() {
    let mut pic = initialised();
    pulse(&mut pic, 2);
    pulse(&mut pic, 3);
    pic.acknowledge();
    pulse(&mut pic, 5);
    assert!(!pic.pending());
    pic.write(0x21, 1 << 3);
    assert!(!pic.pending(), "a mask alone does not");
    pic.write(0x20, 0x68);
    assert_eq!(pic.acknowledge(), 0x25);
    pic.write(0x20, 0x20);
    assert_eq!(pic.in_service(), 1 << 3);
    pic.write(0x20, 0x20);
    assert_eq!(pic.in_service(), 1 << 3);
    pic.write(0x20, 0x48);
    pic.write(0x20, 0x20);
    assert_eq!(pic.in_service(), 0);
}

// "Reading the 8259A Status": OCW3 chooses, and the choice is remembered; the data port is the mask.
#[test]
fn reading() {
    let mut pic = initialised();
    pulse(&mut pic, 3);
    pulse(&mut pic, 6);
    pic.acknowledge();
    assert_eq!((pic.read(0x20), pic.read(0x20)), (Some(1 << 6), Some(1 << 6)));
    pic.write(0x20, 0x0b);
    assert_eq!((pic.read(0x20), pic.read(0x20)), (Some(1 << 3), Some(1 << 3)));
    pic.write(0x20, 0x0a);
    assert_eq!(pic.read(0x20), Some(1 << 6));
    pic.write(0x21, 0x5a);
    assert_eq!(pic.read(0x21), Some(0x5a));
    assert_eq!(pic.read(0x22), None);
    assert!(!pic.write(0x9f, 0));
}

// "Poll Command": the next read acknowledges.
#[test]
fn polling() {
    let mut pic = initialised();
    pulse(&mut pic, 5);
    pic.write(0x20, 0x0c);
    assert_eq!(pic.read(0x20), Some(0x85));
    assert_eq!((pic.in_service(), pic.requests()), (1 << 5, 0));
    pic.write(0x20, 0x0c);
    assert_eq!(pic.read(0x21), Some(0), "nothing to be served");
    assert_eq!(pic.read(0x21), Some(0), "the mask again");
    // One of the slave's: the master says 2, then the slave which.
    pic.write(0x20, 0x20);
    pulse(&mut pic, 12);
    pic.write(0x20, 0x0c);
    assert_eq!(pic.read(0x20), Some(0x82));
    pic.write(0xa0, 0x0c);
    assert_eq!(pic.read(0xa0), Some(0x84));
    assert_eq!(pic.in_service(), 1 << 12 | 1 << 2);
}

// "Edge and Level Triggered Modes"; the edge/level registers are the PIIX3's.
#[test]
fn edges_and_levels() {
    let mut pic = initialised();
    pic.raise(5);
    assert_eq!(pic.acknowledge(), 0x25);
    pic.write(0x20, 0x20);
    assert!(!pic.pending(), "one edge, one interrupt");
    pic.raise(5);
    assert!(!pic.pending(), "it was high already");
    pic.lower(5);
    pic.raise(5);
    assert!(pic.pending());
    // Level: as long as it is high.
    pic.write(0x4d0, 0xff);
    assert_eq!(pic.read(0x4d0), Some(0xf8), "timer, keyboard and cascade are edges");
    pic.write(0x4d1, 0xff);
    assert_eq!(pic.read(0x4d1), Some(0xde));
    for _ in 0..2 {
        assert_eq!(pic.acknowledge(), 0x25);
        pic.write(0x20, 0x20);
    }
    pic.lower(5);
    assert!(!pic.pending());
}

// The cascade: interrupts 8 to 15 come between 1 and 3, and need an end at both controllers.
#[test]
fn cascade() {
    let mut pic = initialised();
    for irq in [3, 9, 12] {
        pulse(&mut pic, irq);
    }
    assert_eq!(pic.acknowledge(), 0x29);
    assert_eq!(pic.in_service(), 1 << 9 | 1 << 2);
    pic.write(0x20, 0x20);
    assert_eq!(pic.acknowledge(), 0x23, "the slave still serves 9, 12 waits");
    pic.write(0xa0, 0x20);
    assert_eq!(pic.acknowledge(), 0x2c, "12 is more urgent than 3");
    pic.write(0x20, 0x20);
    assert_eq!(pic.in_service(), 1 << 12 | 1 << 3);
    // The master's input 2 is the slave's alone.
    pic.raise(2);
    pic.raise(16);
    pic.raise(255);
    assert_eq!(pic.requests(), 0);
    // Two at once without ends: both come, one after the other.
    let mut pic = initialised_with(0x03);
    for irq in [9, 12] {
        pulse(&mut pic, irq);
    }
    assert_eq!((pic.acknowledge(), pic.acknowledge(), pic.pending()), (0x29, 0x2c, false));
}

// "Special Fully Nested Mode": the slave's more urgent requests are not held back by the cascade's input.
#[test]
fn special_fully_nested() {
    for (icw4, comes) in [(0x01, false), (0x11, true)] {
        let mut pic = initialised_with(icw4);
        pulse(&mut pic, 12);
        pic.acknowledge();
        pulse(&mut pic, 9);
        assert_eq!(pic.pending(), comes);
    }
}

// "If the IR input goes low before this time a DEFAULT IR7 will occur when the CPU acknowledges."
#[test]
fn spurious() {
    let mut pic = initialised();
    assert_eq!((pic.acknowledge(), pic.in_service()), (0x27, 0));
    // A level that went away, of the master and of the slave.
    pic.write(0x4d0, 1 << 5);
    pic.raise(5);
    pic.lower(5);
    assert!(!pic.pending());
    assert_eq!((pic.acknowledge(), pic.in_service()), (0x27, 0));
    // A request of the slave's that goes while the master has it already: 15, and only the master serves something.
    pulse(&mut pic, 9);
    pic.write(0xa1, 0xff);
    assert!(pic.pending());
    assert_eq!((pic.acknowledge(), pic.in_service()), (0x2f, 1 << 2));
}
