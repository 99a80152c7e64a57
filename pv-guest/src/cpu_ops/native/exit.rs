//! The end of a run on a bare machine.

use core::arch::asm;
use core::sync::atomic::{AtomicU16, Ordering};

use pv_guest_logic::options;
use x86_64::instructions::port::Port;

use crate::cpu_ops::StopReason;

/// The port of QEMU's isa-debug-exit device; 0 where there is none.
static PORT: AtomicU16 = AtomicU16::new(0);

/// Takes `exit=PORT` from the command line.
pub fn configure(command_line: &str) {
    let port = options::number(command_line, "exit").and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
    PORT.store(port, Ordering::Relaxed);
}

/// Leaves by the exit device, with the values that Paravane writes there too, so that a run ends with the same status; else by
/// the keyboard controller's reset line for a new start, else stands still.
pub fn leave(reason: StopReason) -> ! {
    let value: u8 = match reason {
        StopReason::PowerOff => 0x10,
        StopReason::Crash => 0x11,
        StopReason::Reboot => 0x13,
    };
    super::serial::drain();
    let port = PORT.load(Ordering::Relaxed);
    if port != 0 {
        // SAFETY: the command line gave this port as the exit device's.
        unsafe { Port::new(port).write(value) };
    }
    if reason == StopReason::Reboot {
        // SAFETY: command 0xfe pulses the processor's reset line (IBM PC/AT keyboard controller).
        unsafe { Port::<u8>::new(0x64).write(0xfe) };
    }
    loop {
        // SAFETY: the machine is over.
        unsafe { asm!("cli", "hlt", options(nostack)) };
    }
}
