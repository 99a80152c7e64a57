//! The attacking kernel on a PC: on a bare machine, and under the machine `trap`, which pretends to be one. It attacks by
//! what a processor obeys: control registers, descriptor tables, page tables, frames, ports.
//!
//! `docs/attacks.md` tells how to run it.

mod attacks;
mod boot;
pub mod exit;
mod fatal;
mod fuzz;
mod guard;
mod memory;
mod registers;
pub mod serial;
mod state;
mod subject;
mod tables;

use core::sync::atomic::{AtomicBool, Ordering};

use paravane_abi::pvh::{HvmStartInfo, XEN_HVM_START_MAGIC_VALUE};
use pv_attack_logic::options::{self, Task};

static RUNNING: AtomicBool = AtomicBool::new(false);
static WHOLE: AtomicBool = AtomicBool::new(false);
static TRAPPED: AtomicBool = AtomicBool::new(false);

/// Longest command line; what is longer is cut.
const LINE: usize = 256;

/// Whether this kernel was started on a PC.
pub fn running() -> bool {
    RUNNING.load(Ordering::Relaxed)
}

/// Whether attacks that have very many cases make all of them: `whole` on the command line.
pub fn whole_run() -> bool {
    WHOLE.load(Ordering::Relaxed)
}

/// Whether somebody only pretends that it is one: CS reads as ring 1's.
pub fn trapped() -> bool {
    TRAPPED.load(Ordering::Relaxed)
}

/// Entered from `native_start64` on the core's stack.
#[unsafe(no_mangle)]
extern "C" fn native_main(start_info: u64) -> ! {
    RUNNING.store(true, Ordering::Relaxed);
    serial::initialise();
    TRAPPED.store(registers::cs() & 3 != 0, Ordering::Relaxed);
    // SAFETY: the loader put it there; the first GiB is mapped.
    let info = unsafe { ((memory::DIRECT + start_info) as *const HvmStartInfo).read() };
    assert!(info.magic == XEN_HVM_START_MAGIC_VALUE, "the start info has no magic");
    let mut line = [0; LINE];
    let line = command_line(&info, &mut line);
    exit::configure(line);
    WHOLE.store(line.split_ascii_whitespace().any(|word| word == "whole"), Ordering::Relaxed);
    memory::initialise(&info);
    subject::initialise();
    subject::restore_all();
    crate::say!("attack: on {} PC", if trapped() { "a pretended" } else { "a bare" });
    match options::parse(line) {
        Some(Task::All) => attacks::all(),
        Some(Task::One(name)) => attacks::one(name),
        Some(Task::Fuzz { seed, from, to, .. }) => fuzz::run(seed, from, to),
        _ => panic!("the command line makes no sense on a PC: {line}"),
    }
    exit::power_off()
}

/// Copies the command line, which lies in memory that attacks are given.
fn command_line<'l>(info: &HvmStartInfo, to: &'l mut [u8; LINE]) -> &'l str {
    let from = (memory::DIRECT + info.cmdline_paddr) as *const u8;
    let mut length = 0;
    while info.cmdline_paddr != 0 && length < LINE {
        // SAFETY: the loader ended it with a NUL.
        let byte = unsafe { from.add(length).read() };
        if byte == 0 {
            break;
        }
        to[length] = byte;
        length += 1;
    }
    core::str::from_utf8(&to[..length]).unwrap_or("")
}
