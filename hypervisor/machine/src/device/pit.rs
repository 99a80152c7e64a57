//! The 8254 timer, used once: its known frequency calibrates the TSC and the local APIC's timer.

use x86_64::instructions::port::Port;

/// Input clock in Hz.
pub const FREQUENCY: u64 = 1_193_182;

/// Looks at the output before the timer counts as absent: its longest run takes 55 ms, and a look at least as long
/// as a transaction on the ISA bus, about a microsecond.
const LIMIT: u32 = 10_000_000;

/// Runs channel 2 for `ticks` of its clock and calls `before` just after it starts and `after` when it has
/// run out. Channel 2's gate and output are on port 0x61, so no interrupt is needed.
///
/// # Panics
/// When the timer never runs out: without it there is no time at all.
pub fn time<A, B>(ticks: u16, before: impl FnOnce() -> A, after: impl FnOnce() -> B) -> (A, B) {
    let mut control = Port::<u8>::new(0x61);
    let mut command = Port::<u8>::new(0x43);
    let mut channel = Port::<u8>::new(0x42);
    // SAFETY: the timer's own ports; the speaker stays off, and nothing else uses channel 2.
    unsafe {
        let gate = control.read() & !0x03;
        control.write(gate);
        command.write(0xb0); // channel 2, low byte then high byte, mode 0: the output rises at zero
        channel.write(ticks as u8);
        channel.write((ticks >> 8) as u8);
        control.write(gate | 1);
        let started = before();
        let ran_out = (0..LIMIT).any(|_| control.read() & 0x20 != 0);
        assert!(ran_out, "the 8254 timer does not count");
        let ended = after();
        control.write(gate);
        (started, ended)
    }
}
