//! Round trips from ring 3 to the kernel and back, in time-stamp counts: under QEMU's `-icount shift=0`
//! these are instructions. The call is getpid both ways.
#![no_std]
#![no_main]

use core::arch::asm;
use core::arch::x86_64::_rdtsc;
use ulib::report::Report;
use ulib::sys::nr;
use ulib::text::field_number;
use ulib::{Args, file, print, println};

ulib::entry!(main);

const ROUNDS: u64 = 256;

/// What a loop cost: time-stamp counts, entries into the hypervisor, and table switches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    time: u64,
    entries: u64,
    switches: u64,
}

/// Entries and CR3 loads so far; zeros where nobody counts.
fn counters() -> (u64, u64) {
    let text = file::read_text("/proc/counters").unwrap_or_default();
    let count = |name| field_number(&text, name).unwrap_or(0);
    (count("total_entries"), count("cr3_loads"))
}

macro_rules! measured {
    ($entry:literal) => {{
        let before = counters();
        // SAFETY: reads the counter around a loop of getpid, which touches no memory.
        let time = unsafe {
            let start = _rdtsc();
            asm!("2:", "mov eax, {number}", $entry, "dec {rounds}", "jnz 2b",
                 rounds = inout(reg) ROUNDS => _, number = const nr::GETPID,
                 lateout("rax") _, lateout("rcx") _, lateout("r11") _, options(nostack));
            _rdtsc() - start
        };
        let after = counters();
        Cost { time, entries: after.0 - before.0, switches: after.1 - before.1 }
    }};
}

/// The least of several runs, number by number: one that a timer event lengthened does not count.
macro_rules! least {
    ($entry:literal) => {{
        let runs = [(); 8].map(|()| measured!($entry));
        let least = |part: fn(&Cost) -> u64| runs.iter().map(part).min().unwrap_or(0);
        Cost {
            time: least(|run| run.time),
            entries: least(|run| run.entries),
            switches: least(|run| run.switches),
        }
    }};
}

fn main(_args: &Args) -> i32 {
    let mut report = Report::new();
    // The loop and the readings of the counters, without any call in between.
    let empty = least!("");
    let counting = counters() != (0, 0);
    for (name, cost) in [("syscall", least!("syscall")), ("int80", least!("int 0x80"))] {
        let time = cost.time.saturating_sub(empty.time);
        let (whole, hundredths) = (time / ROUNDS, time % ROUNDS * 100 / ROUNDS);
        println!("bench {name} {whole}.{hundredths:02} counts per round trip");
        let entries = cost.entries.saturating_sub(empty.entries);
        let switches = cost.switches.saturating_sub(empty.switches);
        if counting {
            report.check(
                if name == "int80" { "path-int80" } else { "path-syscall" },
                entries == 0 && switches == 0,
                format_args!("{ROUNDS} round trips: {entries} hypervisor entries, {switches} table switches"),
            );
        }
    }
    match file::read_text("/proc/bench") {
        Ok(text) => print!("{text}"),
        Err(error) => println!("bench: /proc/bench: {error}"),
    }
    if counting { report.code() } else { 0 }
}
