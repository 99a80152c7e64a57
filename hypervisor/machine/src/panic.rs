//! The hypervisor's own end: said once, readably, and then the machine stops.

use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::Ordering;

use crate::cpu::local;
use crate::device::exit::{self, Reason};
use crate::device::serial::Serial;
use crate::logger::Lines;
use crate::smp::stop::{self, Alone};

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // A panic while panicking must not go on for ever: the second one says nothing.
    if stop::others() == Alone::First {
        report(info);
    }
    exit::leave(Reason::Panic)
}

fn report(info: &PanicInfo<'_>) {
    // SAFETY: the other processors have stopped, and this one never returns to whoever holds the lock.
    let mut port = unsafe { Serial::seized() };
    port.send_lines(|port| write_report(port, info));
}

fn write_report(port: &mut Serial, info: &PanicInfo<'_>) {
    let mut lines = Lines { port, at_start: true };
    let all = local::all();
    // There is nobody to hear of a line that cannot be written.
    let _ = match all {
        [] | [_] => writeln!(lines, "HYPERVISOR PANIC: {info}"),
        _ => writeln!(lines, "HYPERVISOR PANIC on CPU {}: {info}", local::this_cpu()),
    };
    for local in all {
        if let Some(rip) = local.stopped_at() {
            let place = match local.in_guest.since() {
                0 if local.idle.load(Ordering::Relaxed) => "asleep",
                0 => "in the hypervisor",
                _ => "in a guest",
            };
            let _ = writeln!(lines, "CPU {} was {place}, RIP {rip:#x}", local.number());
        }
    }
}
