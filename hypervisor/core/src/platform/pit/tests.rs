//! The timer, rule by rule, and against a counter that is stepped one clock pulse at a time.

use super::*;
use crate::platform::tests::Dice;

/// Sets a counter up through its ports, at a pulse.
fn program(pit: &mut Pit, counter: u8, mode: u8, count: u16, at: u64) {
    let now = time_of(at).unwrap();
    pit.write(0x43, counter << 6 | 0x30 | mode << 1, now);
    for byte in count.to_le_bytes() {
        pit.write(COUNTERS + u16::from(counter), byte, now);
    }
}

/// Status and count of a counter, latched by one read-back.
fn look(pit: &mut Pit, counter: u8, at: u64) -> (u8, u16) {
    let (now, port) = (time_of(at).unwrap(), COUNTERS + u16::from(counter));
    pit.write(0x43, 0xc0 | 2 << counter, now);
    let mut next = || pit.read(port, now).unwrap();
    let status = next();
    let low = next();
    (status, u16::from_le_bytes([low, next()]))
}

fn output(pit: &mut Pit, counter: u8, at: u64) -> bool {
    look(pit, counter, at).0 & 0x80 != 0
}

#[test]
fn ticks_follow_the_time_without_drift() {
    assert_eq!(tick(0), 0);
    assert_eq!(tick(1_000_000_000), FREQUENCY);
    assert_eq!(tick(1_000_000_000 * 86_400 * 365), FREQUENCY * 86_400 * 365);
    for n in (0..5_000).chain([u64::from(u32::MAX), FREQUENCY * 1_000_000 + 1]) {
        let time = time_of(n).unwrap();
        assert_eq!(tick(time), n);
        assert!(n == 0 || tick(time - 1) == n - 1);
    }
    assert_eq!(time_of(u64::MAX), None);
}

// "Mode 0: Interrupt on Terminal Count": OUT goes high N + 1 pulses after the count is written, and stays high.
#[test]
fn mode_0_rises_once_after_the_count_and_one() {
    let mut pit = Pit::new();
    program(&mut pit, 0, 0, 5, 10);
    assert!(!output(&mut pit, 0, 15) && output(&mut pit, 0, 16) && output(&mut pit, 0, 1_000_000));
    assert_eq!(pit.advance(time_of(1_000_000).unwrap()), 1);
    assert_eq!(pit.next_edge(), None);
    // A new count takes it low at once; the first byte alone stops the counting.
    pit.write(0x40, 3, time_of(1_000_001).unwrap());
    assert!(!output(&mut pit, 0, 1_000_001) && !output(&mut pit, 0, 2_000_000));
    pit.write(0x40, 0, time_of(2_000_000).unwrap());
    assert!(!output(&mut pit, 0, 2_000_003) && output(&mut pit, 0, 2_000_004));
}

// "Mode 0": the counter goes on counting down from the top after the terminal count.
#[test]
fn mode_0_wraps_around() {
    let mut pit = Pit::new();
    program(&mut pit, 0, 0, 2, 0);
    assert_eq!([1, 2, 3, 4, 5].map(|at| look(&mut pit, 0, at).1), [2, 1, 0, 0xffff, 0xfffe]);
}

// "Mode 1: Hardware Retriggerable One-Shot": low for N pulses after the gate's rising edge, by port 0x61.
#[test]
fn mode_1_waits_for_the_gate() {
    let mut pit = Pit::new();
    program(&mut pit, 2, 1, 4, 0);
    assert!(output(&mut pit, 2, 100));
    pit.write(0x61, 1, time_of(100).unwrap());
    assert!(!output(&mut pit, 2, 101) && !output(&mut pit, 2, 104) && output(&mut pit, 2, 105));
    // Triggered again while it is low, it stays low for the whole of the count.
    for (level, at) in [(0, 200), (1, 201), (0, 203), (1, 204)] {
        pit.write(0x61, level, time_of(at).unwrap());
    }
    assert!(!output(&mut pit, 2, 205) && !output(&mut pit, 2, 208) && output(&mut pit, 2, 209));
    // Counters 0 and 1 have their gates tied high: no trigger ever comes.
    program(&mut pit, 0, 1, 4, 300);
    assert!(output(&mut pit, 0, 1000) && pit.next_edge().is_none());
}

// "Mode 2: Rate Generator": low for the last pulse of N, and again.
#[test]
fn mode_2_divides_by_the_count() {
    let mut pit = Pit::new();
    program(&mut pit, 0, 2, 1193, 0);
    assert_eq!(look(&mut pit, 0, 1).1, 1193);
    assert_eq!(look(&mut pit, 0, 1193), (0x34, 1));
    assert_eq!(look(&mut pit, 0, 1194), (0xb4, 1193));
    assert_eq!(pit.next_edge(), time_of(1 + 2 * 1193));
    assert_eq!(pit.advance(time_of(1 + 1193 * 1000).unwrap()), 1000);
    // The new count counts from the next cycle on.
    let base = 1 + 1193 * 1000;
    let now = time_of(base + 5).unwrap();
    assert!(pit.write(0x40, 10, now) && pit.write(0x40, 0, now));
    assert_eq!(look(&mut pit, 0, base + 5).0 & 0x40, 0x40, "null count until it is loaded");
    assert_eq!(pit.next_edge(), time_of(base + 1193));
    assert_eq!(look(&mut pit, 0, base + 1193), (0xb4, 10));
    assert_eq!(pit.next_edge(), time_of(base + 1203));
}

// "Mode 3: Square Wave Mode": even counts have equal halves, odd ones are high for one pulse more.
#[test]
fn mode_3_is_high_and_low_by_halves() {
    for (count, high) in [(6, 3), (7, 4)] {
        let mut pit = Pit::new();
        program(&mut pit, 0, 3, count, 0);
        let levels: std::vec::Vec<bool> =
            (1..=2 * u64::from(count)).map(|at| output(&mut pit, 0, at)).collect();
        for (n, level) in levels.iter().enumerate() {
            assert_eq!(*level, n % usize::from(count) < high, "count {count}, pulse {n}");
        }
    }
    let mut pit = Pit::new();
    program(&mut pit, 0, 3, 8, 0);
    assert_eq!([1, 2, 3, 4, 5, 6].map(|at| look(&mut pit, 0, at).1), [8, 6, 4, 2, 8, 6]);
}

// "Mode 4: Software Triggered Strobe": low for one pulse, N + 1 after the write.
#[test]
fn mode_4_strobes_once() {
    let mut pit = Pit::new();
    program(&mut pit, 0, 4, 3, 0);
    assert_eq!([3, 4, 5, 0x1_0004].map(|at| output(&mut pit, 0, at)), [true, false, true, true]);
    assert_eq!(pit.advance(time_of(0x2_0000).unwrap()), 1);
}

// "Mode 5: Hardware Triggered Strobe".
#[test]
fn mode_5_strobes_after_the_gate() {
    let mut pit = Pit::new();
    program(&mut pit, 2, 5, 3, 0);
    pit.write(0x61, 1, time_of(50).unwrap());
    assert_eq!([10, 53, 54, 55].map(|at| output(&mut pit, 2, at)), [true, true, false, true]);
}

// "Gate Pin Operations": the gate holds modes 0 and 4 and restarts 2 and 3, whose output it sets high.
#[test]
fn the_gate_holds_and_restarts() {
    let mut pit = Pit::new();
    program(&mut pit, 2, 0, 10, 0);
    assert_eq!(look(&mut pit, 2, 500), (0x30, 10), "loaded, but held");
    pit.write(0x61, 1, time_of(500).unwrap());
    pit.write(0x61, 0, time_of(504).unwrap());
    assert_eq!(look(&mut pit, 2, 900).1, 6);
    pit.write(0x61, 1, time_of(900).unwrap());
    assert!(!output(&mut pit, 2, 905) && output(&mut pit, 2, 906));

    program(&mut pit, 2, 3, 10, 1000);
    assert!(!output(&mut pit, 2, 1006));
    pit.write(0x61, 0, time_of(1006).unwrap());
    assert!(output(&mut pit, 2, 1006));
    pit.write(0x61, 1, time_of(2000).unwrap());
    assert_eq!(look(&mut pit, 2, 2001).1, 10);
}

// "Counter Latch Command" and "Read-Back Command".
#[test]
fn latches_hold_until_they_are_read() {
    let mut pit = Pit::new();
    program(&mut pit, 0, 2, 0x1234, 0);
    let at = |tick: u64| time_of(tick).unwrap();
    pit.write(0x43, 0x00, at(1));
    pit.write(0x43, 0x00, at(0x100));
    assert_eq!(pit.read(0x40, at(0x200)), Some(0x34));
    assert_eq!(pit.read(0x40, at(0x300)), Some(0x12));
    // Now it counts again: one low byte, one high byte.
    assert_eq!(pit.read(0x40, at(0x401)), Some(0x34));
    assert_eq!(pit.read(0x40, at(0x401)), Some(0x0e));
    // Status first, whatever was latched first; status alone leaves the count.
    pit.write(0x43, 0xd2, at(0x501));
    pit.write(0x43, 0xe2, at(0x601));
    assert_eq!(pit.read(0x40, at(0x700)), Some(0xb4));
    assert_eq!(pit.read(0x40, at(0x700)), Some(0x34));
    assert_eq!(pit.read(0x40, at(0x700)), Some(0x0d));
    // The command register cannot be read.
    assert_eq!(pit.read(0x43, at(0x700)), Some(0xff));
}

// "Control Word Format": BCD counts four digits, and 0 is 10000.
#[test]
fn decimal_counts() {
    let mut pit = Pit::new();
    let at = |tick: u64| time_of(tick).unwrap();
    pit.write(0x43, 0x31, at(0));
    pit.write(0x40, 0x00, at(0));
    pit.write(0x40, 0x10, at(0));
    assert_eq!(look(&mut pit, 0, 2).1, 0x0999);
    assert_eq!(look(&mut pit, 0, 1002).1, 0x9999);
    pit.write(0x43, 0x35, at(2000));
    pit.write(0x40, 0x00, at(2000));
    pit.write(0x40, 0x00, at(2000));
    assert_eq!(pit.next_edge(), time_of(2001 + 10_000));
}

// "Control Word Format": one byte alone leaves the other 0.
#[test]
fn single_byte_access() {
    let mut pit = Pit::new();
    pit.write(0x43, 0x14, 0);
    pit.write(0x40, 0x80, 0);
    assert_eq!(pit.next_edge(), time_of(1 + 0x80));
    pit.write(0x43, 0x24, 0);
    pit.write(0x40, 0x80, 0);
    assert_eq!(pit.next_edge(), time_of(1 + 0x8000));
    assert_eq!(pit.read(0x40, time_of(1).unwrap()), Some(0x80));
}

// PIIX3, "NMI Status and Control Register": bits 0 and 1 are kept, 4 toggles with the refresh, 5 is the output.
#[test]
fn port_61_shows_refresh_and_output() {
    let mut pit = Pit::new();
    pit.write(0x61, 0xff, 0);
    assert_eq!(pit.read(0x61, 0).map(|value| value & 0xcf), Some(0x0f));
    let levels: std::vec::Vec<u8> =
        (0..8).map(|n| pit.read(0x61, time_of(n * 18).unwrap()).unwrap() & 0x10).collect();
    assert_eq!(levels, [0, 0x10, 0, 0x10, 0, 0x10, 0, 0x10]);
    program(&mut pit, 2, 0, 50, 200);
    assert_eq!(pit.read(0x61, time_of(250).unwrap()).unwrap() & 0x20, 0);
    assert_eq!(pit.read(0x61, time_of(251).unwrap()).unwrap() & 0x20, 0x20);
}

/// A counter as the data sheet draws it, stepped pulse by pulse.
struct Stepped {
    mode: u8,
    modulus: u32,
    gate: bool,
    register: Option<u32>,
    odd: bool,
    element: u32,
    /// The bits it stopped with: a new control word changes their meaning, not them.
    stopped: u16,
    loaded: bool,
    load_next: bool,
    armed: bool,
    null: bool,
    output: bool,
    edges: u64,
}

impl Stepped {
    fn new(gate: bool) -> Self {
        Self {
            mode: 3,
            modulus: 0x1_0000,
            gate,
            register: None,
            odd: false,
            element: 0,
            stopped: 0,
            loaded: false,
            load_next: false,
            armed: false,
            null: true,
            output: true,
            edges: 0,
        }
    }

    fn set_output(&mut self, level: bool) {
        self.edges += u64::from(level && !self.output);
        self.output = level;
    }

    fn control(&mut self, mode: u8, bcd: bool) {
        self.stopped = self.shown();
        (self.mode, self.modulus) = (mode, if bcd { 10_000 } else { 0x1_0000 });
        (self.register, self.loaded, self.load_next, self.null) = (None, false, false, true);
        self.set_output(mode != 0);
    }

    fn first_byte(&mut self) {
        if self.mode == 0 {
            self.stopped = self.shown();
            (self.loaded, self.load_next) = (false, false);
            self.set_output(false);
        }
    }

    fn count(&mut self, count: u32) {
        (self.register, self.null) = (Some(if count == 0 { self.modulus } else { count }), true);
        match self.mode {
            0 => {
                self.first_byte();
                self.load_next = true;
            }
            4 => self.load_next = true,
            2 | 3 if !self.loaded => self.load_next = true,
            _ => {}
        }
    }

    fn set_gate(&mut self, level: bool) {
        let rises = level && !self.gate;
        self.gate = level;
        if rises && matches!(self.mode, 1 | 2 | 3 | 5) && self.register.is_some() {
            self.load_next = true;
        }
        if !level && matches!(self.mode, 2 | 3) {
            self.set_output(true);
        }
    }

    fn load(&mut self) {
        let count = self.register.unwrap();
        self.null = false;
        self.loaded = true;
        self.armed = true;
        self.element = match self.mode {
            2 => count.max(2),
            3 => count.max(2) & !1,
            _ => count,
        };
        self.odd = count.max(2) % 2 == 1;
    }

    fn decrement(&mut self) {
        self.element = (self.element % self.modulus + self.modulus - 1) % self.modulus;
    }

    fn clock(&mut self) {
        if self.load_next {
            self.load_next = false;
            self.load();
            self.set_output(!matches!(self.mode, 0 | 1));
            return;
        }
        let held = !self.gate && !matches!(self.mode, 1 | 5);
        if !self.loaded || held {
            // A strobe lasts one pulse, gate or not.
            if self.mode == 4 {
                self.set_output(true);
            }
            return;
        }
        match self.mode {
            2 => {
                if self.element == 1 {
                    self.load();
                } else {
                    self.element -= 1;
                }
                self.set_output(self.element != 1);
            }
            3 => {
                let last = if self.odd && self.output { 0 } else { 2 };
                if self.element == last {
                    self.load();
                    self.set_output(!self.output);
                } else {
                    self.element -= 2;
                }
            }
            mode => {
                self.decrement();
                if mode < 2 {
                    self.set_output(self.output || self.element == 0);
                } else {
                    self.set_output(!(self.element == 0 && self.armed));
                    self.armed &= self.element != 0;
                }
            }
        }
    }

    fn shown(&self) -> u16 {
        if !self.loaded {
            return self.stopped;
        }
        let value = self.element % self.modulus;
        if self.modulus == 0x1_0000 {
            return value as u16;
        }
        (0..4).map(|digit| (value / 10u32.pow(digit) % 10) << (4 * digit)).sum::<u32>() as u16
    }
}

/// Random writes, gates and waits; after each the counter has to show what the stepped one does.
fn compare(seed: u64, counter: u8) {
    let mut dice = Dice::new(seed);
    let (mut pit, mut stepped) = (Pit::new(), Stepped::new(counter == 0));
    let port = COUNTERS + u16::from(counter);
    let (mut tick, mut edges, mut half_written) = (0u64, 0, None);
    for step in 0..12 {
        let now = time_of(tick).unwrap();
        match dice.roll(8) {
            0 | 1 => {
                let (mode, bcd) = (dice.roll(6) as u8, dice.roll(4) == 0);
                pit.write(0x43, counter << 6 | 0x30 | mode << 1 | u8::from(bcd), now);
                stepped.control(mode, bcd);
                half_written = None;
            }
            2..6 => {
                let digit = |value: u64| (value / 10 * 16 + value % 10) as u8;
                let bcd = stepped.modulus == 10_000;
                let value = if dice.roll(20) == 0 { dice.roll(100) } else { dice.roll(12) };
                let byte = if bcd { digit(value) } else { value as u8 };
                pit.write(port, byte, now);
                half_written = match half_written.take() {
                    None => {
                        stepped.first_byte();
                        // Mostly both bytes at once, with a small count.
                        if dice.roll(4) == 0 {
                            Some(value)
                        } else {
                            pit.write(port, 0, now);
                            stepped.count(value as u32);
                            None
                        }
                    }
                    Some(low) => {
                        let scale = if bcd { 100 } else { 256 };
                        stepped.count((value * scale + low) as u32);
                        None
                    }
                };
            }
            _ if counter == 2 => {
                let level = dice.roll(2) == 1;
                pit.write(0x61, u8::from(level), now);
                stepped.set_gate(level);
            }
            _ => {}
        }
        if counter == 0 {
            edges += pit.advance(now);
        }
        let foretold = pit.next_edge();
        let wait = if dice.roll(30) == 0 { dice.roll(70_000) } else { dice.roll(30) };
        let mut first = None;
        for _ in 0..wait {
            let before = stepped.edges;
            stepped.clock();
            tick += 1;
            if stepped.edges > before && first.is_none() {
                first = Some(tick);
            }
        }
        let about = std::format!("seed {seed}, step {step}, mode {}, pulse {tick}", stepped.mode);
        if counter == 0 {
            let due = foretold.filter(|at| *at <= time_of(tick).unwrap());
            assert_eq!(due, first.and_then(time_of), "next edge: {about}");
            edges += pit.advance(time_of(tick).unwrap());
            assert_eq!(edges, stepped.edges, "edges: {about}");
        }
        let (status, count) = look(&mut pit, counter, tick);
        assert_eq!(status & 0x80 != 0, stepped.output, "output: {about}");
        assert_eq!(status & 0x40 != 0, stepped.null, "null count: {about}");
        assert_eq!(count, stepped.shown(), "count: {about}");
    }
}

#[test]
fn counter_0_is_the_one_that_is_stepped() {
    (0..5_000).for_each(|seed| compare(seed, 0));
}

#[test]
fn counter_2_and_its_gate_are_the_one_that_is_stepped() {
    (5_000..10_000).for_each(|seed| compare(seed, 2));
}
