//! The hypervisor's own end: said once, readably, and then the machine stops.

use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use x86_64::instructions::interrupts;

use crate::device::exit::{self, Reason};
use crate::device::serial::COM1_PORT;
use crate::logger::Lines;

static PANICKED: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    interrupts::disable();
    // A panic while panicking, or while the port was locked, must not hang: the second one says nothing.
    if !PANICKED.swap(true, Ordering::Relaxed) {
        // SAFETY: this processor will never return to whoever holds the lock.
        unsafe { COM1_PORT.force_unlock() };
        let mut port = COM1_PORT.lock();
        let _ = writeln!(Lines { port: &mut *port, at_start: true }, "HYPERVISOR PANIC: {info}");
    }
    exit::leave(Reason::Panic)
}
