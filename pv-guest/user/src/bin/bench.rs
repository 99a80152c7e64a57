//! Round trips from ring 3 to the kernel and back, in time-stamp counts: under QEMU's `-icount shift=0`
//! these are instructions. The call is getpid both ways.
#![no_std]
#![no_main]

use core::arch::asm;
use core::arch::x86_64::_rdtsc;
use ulib::sys::nr;
use ulib::{Args, file, print, println};

ulib::entry!(main);

const ROUNDS: u64 = 256;

macro_rules! timed {
    ($entry:literal) => {{
        // SAFETY: reads the counter around a loop of getpid, which touches no memory.
        unsafe {
            let start = _rdtsc();
            asm!("2:", "mov eax, {number}", $entry, "dec {rounds}", "jnz 2b",
                 rounds = inout(reg) ROUNDS => _, number = const nr::GETPID,
                 lateout("rax") _, lateout("rcx") _, lateout("r11") _, options(nostack));
            _rdtsc() - start
        }
    }};
}

/// The least of several runs, less the empty loop, per round: a run that a timer tick lengthened is left out.
macro_rules! per_round {
    ($entry:literal) => {{
        let least = (0..5).map(|_| timed!($entry)).min().unwrap_or(0);
        let empty = (0..5).map(|_| timed!("")).min().unwrap_or(0);
        let counts = least.saturating_sub(empty);
        (counts / ROUNDS, counts % ROUNDS * 100 / ROUNDS)
    }};
}

fn main(_args: &Args) -> i32 {
    let syscall = per_round!("syscall");
    println!("bench syscall {}.{:02} counts per round trip", syscall.0, syscall.1);
    let gate = per_round!("int 0x80");
    println!("bench int80 {}.{:02} counts per round trip", gate.0, gate.1);
    match file::read_text("/proc/bench") {
        Ok(text) => print!("{text}"),
        Err(error) => println!("bench: /proc/bench: {error}"),
    }
    0
}
