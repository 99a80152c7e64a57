//! The programs' part of `cargo xtask compare`: operations that begin in ring 3, each counted; then the kernel's part,
//! `/proc/compare`. Time-stamp counts are instructions under QEMU's `-icount shift=0`.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use core::arch::x86_64::_rdtsc;
use core::cell::Cell;
use core::hint::black_box;
use ulib::process::{self, signal};
use ulib::sys::{self, PROT_READ, PROT_WRITE};
use ulib::{Args, file, io, print, println};

ulib::entry!(main);

const PAGE: usize = 4096;
/// Pages that one `mmap-touch-munmap` maps and touches.
const TOUCHED: usize = 16;
/// The shell's script: a pipeline of two programs, and a list of another.
const SCRIPT: &str = "echo one | cat > /dev/null; ls /bin > /dev/null && echo two > /dev/null";
/// Runs of an operation. Of each count the least is taken, so that a timer interrupt in one of them does not show.
const RUNS: usize = 8;
/// Most runs that are shown.
const SHOWN: usize = 4;
/// Instructions of a run that is longer than a time slice or about as long: it always has the timer's interrupts in it.
const SLICE: u64 = 5_000_000;

/// The instructions of one run, of calling it, and of looking.
#[inline(never)]
fn once(act: &mut dyn FnMut()) -> u64 {
    let act = black_box(act);
    // SAFETY: RDTSC only reads the counter.
    let start = unsafe { _rdtsc() };
    act();
    // SAFETY: as above.
    let end = unsafe { _rdtsc() };
    end.saturating_sub(start)
}

/// Tells whoever watches the machine from outside, through the kernel, whose addresses are the same in every process.
fn mark(word: &str, name: &str) {
    // Nobody may be there; the counts do not depend on it.
    let _ = file::write("/proc/compare", format!("{word} {name}").as_bytes());
}

/// The least of several runs. Each lies between marks that nobody watches, so that it finds the kernel as the run that is
/// watched does.
fn least(name: &str, act: &mut dyn FnMut()) -> u64 {
    let mut run = || {
        mark("passes", name);
        let cost = once(act);
        mark("passed", name);
        cost
    };
    let first = run();
    if first > SLICE { first } else { (1..RUNS).map(|_| run()).fold(first, u64::min) }
}

/// Runs an operation once more between two marks, and again where that took longer than the least; the least of these runs is
/// what it costs. At the first mark the emulator may stop, and its clock then goes to the next timer's time; the interrupt and
/// what follows from it is over after one act.
fn show(name: &str, act: &mut dyn FnMut(), least: u64) -> u64 {
    let mut best = u64::MAX;
    for _ in 0..SHOWN {
        mark("begins", name);
        if least <= SLICE {
            act();
        }
        best = best.min(once(act));
        mark("ends", name);
        if best <= least || best > SLICE {
            break;
        }
    }
    best
}

/// Counts an operation and prints its line. The cost of calling an empty one and of looking is told, and taken off.
fn line(name: &str, act: &mut dyn FnMut()) {
    // Once before it counts: pages are brought, caches of the kernel's filled.
    act();
    let looking = least(name, &mut || ());
    let least = least(name, act);
    let cost = show(name, act, least);
    println!("compare {name} instructions={} looking={looking}", cost.saturating_sub(looking));
}

/// What is wanted: the words after `only=` in the kernel's arguments, with colons between them; everything when there is none.
struct Wanted(Option<String>);

impl Wanted {
    fn read() -> Self {
        let text = file::read_text("/proc/cmdline").unwrap_or_default();
        Self(text.split_whitespace().find_map(|word| word.strip_prefix("only=")).map(String::from))
    }

    fn has(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.split(':').any(|wanted| wanted == name))
    }

    /// Counts an operation, if it is wanted.
    fn line(&self, name: &str, act: &mut dyn FnMut()) {
        if self.has(name) {
            line(name, act);
        }
    }
}

fn main(args: &Args) -> i32 {
    if args.get(1) == "nothing" {
        return 0;
    }
    if let Err(error) = operations(&Wanted::read()) {
        println!("FAILED compare: {error}");
        return 1;
    }
    match file::read_text("/proc/compare") {
        Ok(text) => print!("{text}"),
        Err(error) => {
            println!("FAILED compare: /proc/compare: {error}");
            return 1;
        }
    }
    println!("compare: done");
    0
}

fn operations(wanted: &Wanted) -> sys::Result<()> {
    wanted.line("null-syscall", &mut || {
        sys::getpid();
    });
    page_faults(wanted)?;
    process_switch(wanted)?;
    ping_pong(wanted)?;
    wanted.line("fork-wait", &mut || {
        let _ = process::run(|| 0);
    });
    wanted.line("fork-exec-wait", &mut || {
        let _ = process::run(|| {
            process::exec("/bin/compare", &["compare", "nothing"]);
            127
        });
    });
    wanted.line("mmap-touch-munmap", &mut || {
        let Ok(at) = sys::mmap_anonymous(TOUCHED * PAGE, PROT_READ | PROT_WRITE) else { return };
        for n in 0..TOUCHED {
            // SAFETY: inside the fresh mapping.
            unsafe { at.add(n * PAGE).write_volatile(1) };
        }
        // SAFETY: nobody else uses the mapping.
        let _ = unsafe { sys::munmap(at, TOUCHED * PAGE) };
    });
    wanted.line("shell-script", &mut || {
        let _ = process::run(|| {
            process::exec("/bin/sh", &["sh", "-c", SCRIPT]);
            127
        });
    });
    Ok(())
}

/// First writes to pages of a mapping, one in each run.
fn page_faults(wanted: &Wanted) -> sys::Result<()> {
    let length = (1 + RUNS + 2 * SHOWN) * PAGE;
    let at = sys::mmap_anonymous(length, PROT_READ | PROT_WRITE)?;
    let next = Cell::new(0);
    wanted.line("user-page-fault", &mut || {
        let offset = next.replace(next.get() + PAGE) % length;
        // SAFETY: inside the mapping, which nobody else uses.
        unsafe { at.add(offset).write_volatile(1) };
    });
    // SAFETY: as above.
    unsafe { sys::munmap(at, length) }
}

/// To another process and back: two switches.
fn process_switch(wanted: &Wanted) -> sys::Result<()> {
    let other = process::spawn(|| {
        loop {
            sys::sched_yield();
        }
    })?;
    wanted.line("process-switch", &mut sys::sched_yield);
    sys::kill(other as isize, signal::SIGKILL)?;
    process::wait(other).map(drop)
}

/// A byte to a child and one back, through two pipes.
fn ping_pong(wanted: &Wanted) -> sys::Result<()> {
    let (to_read, to_write) = sys::pipe()?;
    let (from_read, from_write) = sys::pipe()?;
    let child = process::spawn(|| {
        let _ = sys::close(to_write);
        let mut byte = [0];
        while sys::read(to_read, &mut byte) == Ok(1) && io::write_all(from_write, &byte).is_ok() {}
        0
    })?;
    wanted.line("pipe-ping-pong", &mut || {
        let mut byte = [7];
        let _ = sys::write(to_write, &byte);
        let _ = sys::read(from_read, &mut byte);
    });
    for end in [to_write, to_read, from_read, from_write] {
        sys::close(end)?;
    }
    process::wait(child).map(drop)
}
