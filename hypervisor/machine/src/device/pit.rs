//! The 8254 timer, used once: its known frequency calibrates the TSC and the local APIC's timer.

use x86_64::instructions::port::Port;

/// Input clock in Hz.
pub const FREQUENCY: u64 = 1_193_182;

/// Runs channel 2 for `ticks` of its clock and calls `before` just after it starts and `after` when it has
/// run out. Channel 2's gate and output are on port 0x61, so no interrupt is needed.
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
        while control.read() & 0x20 == 0 {
            core::hint::spin_loop();
        }
        let ended = after();
        control.write(gate);
        (started, ended)
    }
}
