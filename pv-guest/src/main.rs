//! The Paravane guest kernel: a small real kernel for ring 1 or ring 3 of a Xen PV domain, or for ring 0 of a bare PC,
//! with programs in ring 3.
//!
//! Start reading at [`boot`]; everything privileged goes through [`cpu_ops`].
#![no_std]
#![no_main]

extern crate alloc;

use pv_guest_logic::errno;

mod arch;
mod bench;
mod boot;
mod compare;
mod console;
mod cpu;
mod cpu_ops;
mod event;
mod fs;
mod grant;
mod hash;
mod info;
mod lesson;
mod mm;
mod power;
mod process;
mod random;
mod registers;
mod role;
mod selftest;
mod syscall;
mod time;
mod trap;
mod tty;
mod xenstore;

use core::sync::atomic::{AtomicBool, Ordering};

/// Reports and ends the domain as crashed.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    use cpu_ops::{StopReason, machine};
    static PANICKING: AtomicBool = AtomicBool::new(false);
    // A panic inside the report would repeat for ever.
    if !PANICKING.swap(true, Ordering::SeqCst) {
        cpu::ipi::stop_others();
        kprintln!("kernel panic: {info}");
        if let Some(process) = process::current_if_any() {
            kprintln!("in process {}", process.pid);
        }
        console::drain();
    }
    machine().stop(StopReason::Crash)
}
