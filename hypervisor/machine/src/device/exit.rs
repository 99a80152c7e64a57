//! Leaving: how the machine is told that it is over, and why.

use core::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use paravane_core::platform::verdict;
use x86_64::instructions::port::Port;
use x86_64::instructions::{hlt, interrupts};

use crate::smp::stop;

/// Why the machine stops; the values are what `paravane.exit` writes to QEMU's isa-debug-exit device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// The last domain powered off.
    PowerOff = verdict::POWER_OFF,
    /// A domain crashed and nothing else is left to run.
    GuestCrash = verdict::GUEST_CRASH,
    /// The hypervisor panicked.
    Panic = verdict::PANIC,
    /// A domain asked for a reboot.
    Reboot = verdict::REBOOT,
}

/// The port of the isa-debug-exit device, or 0 when the command line names none.
static DEBUG_EXIT_PORT: AtomicU16 = AtomicU16::new(0);

/// The command line said `noreboot`.
static NO_REBOOT: AtomicBool = AtomicBool::new(false);

/// Takes what the command line says of it.
pub fn configure(debug_exit_port: Option<u16>, no_reboot: bool) {
    DEBUG_EXIT_PORT.store(debug_exit_port.unwrap_or(0), Ordering::Relaxed);
    NO_REBOOT.store(no_reboot, Ordering::Relaxed);
}

/// Stops the machine: by the exit device where there is one, else by the keyboard controller's reset line for
/// a reboot, else by halting for good.
pub fn leave(reason: Reason) -> ! {
    let port = DEBUG_EXIT_PORT.load(Ordering::Relaxed);
    if port != 0 {
        // SAFETY: the command line gave this port as the exit device's.
        unsafe { Port::<u8>::new(port).write(reason as u8) };
    }
    if reason == Reason::Reboot && !NO_REBOOT.load(Ordering::Relaxed) {
        // SAFETY: command 0xfe pulses the processor's reset line (IBM PC/AT keyboard controller).
        unsafe { Port::<u8>::new(0x64).write(0xfe) };
    }
    // Guests of other processors do not go on either.
    stop::others();
    loop {
        interrupts::disable();
        hlt();
    }
}
