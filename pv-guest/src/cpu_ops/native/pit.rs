//! The 8254 interval timer (Intel's data sheet 231164): channel 0 interrupts once when it has counted down; channel 2, whose
//! output goes nowhere, is what the processor's counter is measured by.

use x86_64::instructions::port::Port;

use crate::arch;

/// Counts a second.
pub const HZ: u64 = 1_193_182;
/// The line of channel 0.
pub const IRQ: u8 = 0;

const CHANNEL_0: u16 = 0x40;
const CHANNEL_2: u16 = 0x42;
const CONTROL: u16 = 0x43;
/// Channel 0, both bytes, mode 0: interrupt on terminal count.
const ONE_SHOT: u8 = 0x30;
/// Channel 2, the same.
const MEASURE: u8 = 0xb0;
/// Hold channel 2's count for the next two reads.
const LATCH: u8 = 0x80;
/// Bit 0 lets channel 2 count, bit 1 lets it be heard.
const SPEAKER: u16 = 0x61;
/// What is left of the counter's range for a pause between two looks.
const MOST: u64 = 0xffff;
/// Looks at both counters, of which the quickest counts: one that something came between says little.
const LOOKS: usize = 8;

fn write(port: u16, value: u8) {
    // SAFETY: the timer's ports are this kernel's.
    unsafe { Port::new(port).write(value) };
}

fn read(port: u16) -> u8 {
    // SAFETY: as above.
    unsafe { Port::new(port).read() }
}

fn set_count(port: u16, count: u16) {
    let [low, high] = count.to_le_bytes();
    write(port, low);
    write(port, high);
}

/// Asks for an interrupt in so many nanoseconds, or as late as there can be one.
pub fn start(ns: u64) {
    let most_ns = MOST * 1_000_000_000 / HZ;
    let count = if ns >= most_ns { MOST } else { (ns * HZ).div_ceil(1_000_000_000).max(1) };
    write(CONTROL, ONE_SHOT);
    set_count(CHANNEL_0, count as u16);
}

/// Counts of the processor and of channel 2 at the same time.
#[derive(Clone, Copy)]
pub struct Look {
    /// The time-stamp counter.
    pub tsc: u64,
    /// Channel 2's, which counts down from 0xffff.
    pub count: u16,
}

/// Starts channel 2 from the top.
pub fn start_measure() {
    write(SPEAKER, read(SPEAKER) & !2 | 1);
    write(CONTROL, MEASURE);
    set_count(CHANNEL_2, u16::MAX);
}

/// Looks at both counters.
pub fn look() -> Look {
    let once = || {
        let before = arch::rdtsc();
        write(CONTROL, LATCH);
        let count = u16::from_le_bytes([read(CHANNEL_2), read(CHANNEL_2)]);
        let took = arch::rdtsc() - before;
        (took, Look { tsc: before + took / 2, count })
    };
    let mut best = once();
    for _ in 1..LOOKS {
        let next = once();
        if next.0 < best.0 {
            best = next;
        }
    }
    best.1
}
