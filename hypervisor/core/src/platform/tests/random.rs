//! Random traffic at every port, and random times: nothing panics, and what must always hold holds.

use super::Dice;
use crate::platform::{Effect, LEAST_EVENT_GAP, Platform, Width};

/// Ports that mean something, more often than others.
const PORTS: [u16; 26] = [
    0x20, 0x21, 0x40, 0x41, 0x42, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x92, 0xa0, 0xa1, 0xf4, 0x3f8, 0x3f9,
    0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x4d0, 0x4d1, 0xcf8, 0xcf9, 0xcfc,
];

struct Traffic {
    dice: Dice,
    platform: Platform,
    now: u64,
}

impl Traffic {
    fn port(&mut self) -> u16 {
        if self.dice.roll(16) == 0 {
            return self.dice.roll(0x1_0000) as u16;
        }
        let near = self.dice.roll(8);
        PORTS[self.dice.roll(26) as usize].wrapping_sub(if near == 0 { 1 } else { 0 })
    }

    fn width(&mut self) -> Width {
        [Width::Byte, Width::Byte, Width::Byte, Width::Word, Width::Long][self.dice.roll(5) as usize]
    }

    /// Mostly moments, sometimes years, sometimes back.
    fn pass(&mut self) {
        let span = match self.dice.roll(12) {
            0 => 1 << self.dice.roll(62),
            1..6 => self.dice.roll(1_000_000),
            _ => self.dice.roll(2000),
        };
        self.now = if self.dice.roll(20) == 0 { self.now / 2 } else { self.now.saturating_add(span) };
    }

    fn step(&mut self, about: &str) {
        match self.dice.roll(10) {
            0..5 => {
                let (port, width) = (self.port(), self.width());
                let value = self.dice.roll(1 << 32) as u32;
                let effect = self.platform.write(port, width, value, self.now);
                let reaches = |at: u16| port <= at && u32::from(at) < u32::from(port) + width as u32;
                match effect {
                    Effect::Console(_) => assert!(reaches(0x3f8), "{about}: port {port:#x}"),
                    Effect::Exit(_) => assert!((0xf4..0xf8).any(reaches), "{about}: port {port:#x}"),
                    Effect::Reboot => {
                        assert!([0x64, 0x92, 0xcf9].into_iter().any(reaches), "{about}: {port:#x}")
                    }
                    Effect::Nothing => {}
                }
            }
            5..8 => {
                let (port, width) = (self.port(), self.width());
                let value = self.platform.read(port, width, self.now);
                assert_eq!(value & !width.mask(), 0, "{about}: port {port:#x}");
            }
            8 => self.acknowledge(about),
            _ => {
                let (byte, room) = (self.dice.roll(256) as u8, self.platform.room());
                self.platform.type_byte(byte, self.now);
                assert!(self.platform.room() >= room.saturating_sub(1), "{about}");
            }
        }
    }

    /// What is acknowledged had a request, and nothing else comes into service by it.
    fn acknowledge(&mut self, about: &str) {
        let pic = |platform: &Platform| (platform.bus.pic.in_service(), platform.bus.pic.requests());
        let (pending, before) = (self.platform.interrupt_pending(), pic(&self.platform));
        let vector = self.platform.acknowledge();
        let after = pic(&self.platform);
        let added = after.0 & !before.0;
        assert_eq!(before.0 & !after.0, 0, "{about}: an acknowledge ends nothing");
        if !pending {
            assert_eq!((added, vector & 7), (0, 7), "{about}: spurious");
        }
        let bit = added & !(1 << 2);
        assert!(bit.count_ones() <= 1, "{about}: {added:#x} came into service");
        if bit != 0 {
            assert_eq!(bit & !before.1, 0, "{about}: {bit:#x} had no request");
            assert_eq!(bit.trailing_zeros() & 7, u32::from(vector & 7), "{about}: vector {vector:#x}");
        }
    }
}

#[test]
fn hostile_traffic() {
    for seed in 0..10_000 {
        let platform = Platform::new(seed << 20, seed << 40);
        let mut traffic = Traffic { dice: Dice::new(seed), platform, now: 0 };
        for step in 0..60 {
            let about = std::format!("seed {seed}, step {step}");
            traffic.pass();
            traffic.step(&about);
            let Some(at) = traffic.platform.next_event(traffic.now) else { continue };
            assert!(at > traffic.now || at == u64::MAX, "{about}: an event in the past");
            // Nothing comes before its time, but what was there already, and edges that come too fast.
            let mut later = traffic.platform;
            let merged = later.last_edge.is_some_and(|edge| edge.saturating_add(LEAST_EVENT_GAP) == at);
            if !later.interrupt_pending() && !merged {
                later.advance(at - 1);
                assert!(!later.interrupt_pending(), "{about}: earlier than foretold");
            }
        }
    }
}

// "Read Operations": between two loads the count only goes down, by as much as the clock says.
#[test]
fn counts_go_down_within_a_period() {
    for seed in 0..500 {
        let mut dice = Dice::new(seed);
        let (mut platform, count) = (Platform::new(0, 0), 2 + dice.roll(0xfffe));
        let mut now = dice.roll(1 << 40);
        for (port, value) in [(0x43, 0x34), (0x40, count & 0xff), (0x40, count >> 8)] {
            platform.write(port, Width::Byte, value as u32, now);
        }
        let period = count * 1_000_000_000 / 1_193_182;
        let (mut last, start) = (u64::from(u16::MAX), now);
        loop {
            now += 1 + dice.roll(period / 8 + 1000);
            if now - start + 2000 > period {
                break;
            }
            if now - start < 1000 {
                continue;
            }
            platform.write(0x43, Width::Byte, 0, now);
            let low = platform.read(0x40, Width::Byte, now);
            let read = u64::from(platform.read(0x40, Width::Byte, now) << 8 | low);
            assert!(read <= last && read <= count, "seed {seed}: {read} after {last} of {count}");
            let elapsed = (now - start) * 1_193_182 / 1_000_000_000;
            assert!(
                (count - read).abs_diff(elapsed) <= 2,
                "seed {seed}: {read} of {count} after {elapsed} pulses"
            );
            last = read;
        }
    }
}
