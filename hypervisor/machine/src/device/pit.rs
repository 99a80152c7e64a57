//! The 8254 timer: its known frequency calibrates the TSC and the local APIC's timer. Its first channel is for tests.

use x86_64::instructions::port::Port;

/// Input clock in Hz.
pub const FREQUENCY: u64 = 1_193_182;

/// What channel 2 counts down from: its longest run, 55 ms.
const START: u16 = u16::MAX;

/// Channel 2's gate (bit 0), the speaker (bit 1) and channel 2's output (bit 5).
const CONTROL: u16 = 0x61;
const COMMAND: u16 = 0x43;
const CHANNEL_0: u16 = 0x40;
const CHANNEL_2: u16 = 0x42;

fn write(port: u16, value: u8) {
    // SAFETY: the timer's own ports; the speaker stays off, and nothing else uses channels 0 and 2.
    unsafe { Port::<u8>::new(port).write(value) }
}

fn read(port: u16) -> u8 {
    // SAFETY: as in `write`; a read of the channel takes the next byte of the latched count and no more.
    unsafe { Port::<u8>::new(port).read() }
}

/// Lets channel 2 count down. Its gate and output are on port 0x61, so no interrupt is needed.
pub fn start() {
    write(CONTROL, read(CONTROL) & !0x03 | 0x01);
    write(COMMAND, 0xb0); // channel 2, low byte then high byte, mode 0: the output rises at zero
    for byte in START.to_le_bytes() {
        write(CHANNEL_2, byte);
    }
}

/// What is left to count, if it has not run out.
pub fn remaining() -> Option<u16> {
    write(COMMAND, 0x80); // latch channel 2
    let count = u16::from_le_bytes([read(CHANNEL_2), read(CHANNEL_2)]);
    (read(CONTROL) & 0x20 == 0).then_some(count)
}

/// Stops counting.
pub fn stop() {
    write(CONTROL, read(CONTROL) & !0x03);
}

/// Has channel 0 raise its interrupt every so many ticks, at least 2.
pub fn repeat(ticks: u16) {
    write(COMMAND, 0x34); // channel 0, low byte then high byte, mode 2: one pulse in each period
    for byte in ticks.to_le_bytes() {
        write(CHANNEL_0, byte);
    }
}
