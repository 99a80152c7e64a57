//! A kernel for ring 1 and for ring 3 that does nothing but harm.
//!
//! `attack=NAME` on its command line makes one attack, without it all that a domain survives are made in one boot, with
//! `attack=smp` those that need a second vcpu; `fuzz=SEED,COUNT[,FROM]` fuzzes; `attack=bystander` keeps memory while the
//! first domain attacks. What each attack is
//! for stands beside it in [`attacks`]; `docs/attacks.md` tells how to run them.
//!
//! It shares nothing with the demonstration's kernel, and keeps nothing that an attack could break: one stack, one table
//! of stubs ([`guard`]), the builder's page tables, and the hypervisor's console.
#![no_std]
#![no_main]

mod attacks;
mod bystander;
mod entries;
mod fuzz;
mod guard;
mod hypercall;
mod memory;
mod native;
mod notes;
mod print;
mod ring;
mod smp;

use core::sync::atomic::{AtomicBool, Ordering};

use paravane_abi::sched::{SHUTDOWN_CRASH, SHUTDOWN_POWEROFF};
use paravane_abi::start_info::StartInfo;
use pv_attack_logic::options::{self, Task};

/// Reports and ends the domain as crashed.
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    static PANICKING: AtomicBool = AtomicBool::new(false);
    // A panic inside the report would repeat for ever.
    if !PANICKING.swap(true, Ordering::SeqCst) {
        print::step();
        say!("attack: panic: {info}");
    }
    if native::running() {
        native::exit::crash();
    }
    hypercall::shutdown(SHUTDOWN_CRASH)
}

/// Entered from `_start` on the core's stack.
#[unsafe(no_mangle)]
extern "C" fn kernel_main(start_info: *const StartInfo) -> ! {
    // SAFETY: the hypervisor passes start_info mapped in the boot mapping, which stays.
    let info = unsafe { &*start_info };
    assert!(info.has_magic(), "start_info has no magic");
    ring::initialise();
    memory::initialise(info);
    guard::initialise(0, core::ptr::from_ref(memory::event_mask(0)) as u64);
    entries::arm();
    let line = core::str::from_utf8(info.command_line()).unwrap_or("");
    match options::parse(line) {
        Some(Task::All) => attacks::all(),
        Some(Task::One(name)) => attacks::one(name),
        Some(Task::Together) => attacks::together(),
        Some(Task::Bystander { attackers }) => bystander::watch(attackers),
        Some(Task::Fuzz { seed, from, to, batches }) => fuzz::run(seed, from, to, batches),
        None => panic!("the command line makes no sense: {line}"),
    }
    hypercall::shutdown(SHUTDOWN_POWEROFF)
}
