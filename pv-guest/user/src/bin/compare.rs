//! The programs' part of `cargo xtask compare`: operations that begin in ring 3, each counted; then the kernel's part,
//! `/proc/compare`. Time-stamp counts are instructions under QEMU's `-icount shift=0`.
#![no_std]
#![no_main]

use core::arch::x86_64::_rdtsc;
use core::cell::Cell;
use core::hint::black_box;
use ulib::process::{self, signal};
use ulib::sys::{self, PROT_READ, PROT_WRITE};
use ulib::text::field_number;
use ulib::{Args, file, io, print, println};

ulib::entry!(main);

const PAGE: usize = 4096;
/// Pages that one `mmap-touch-munmap` maps and touches.
const TOUCHED: usize = 16;
/// The shell's script: a pipeline of two programs, and a list of another.
const SCRIPT: &str = "echo one | cat > /dev/null; ls /bin > /dev/null && echo two > /dev/null";
/// Runs of an operation. Of each count the least is taken, so that a timer interrupt in one of them does not show.
const RUNS: usize = 8;

/// What is counted, and what it is called in `/proc/counters`.
const COUNTERS: [&str; 6] =
    ["total_entries", "exceptions", "interrupts", "cr3_loads", "tlb_flushes", "invlpg"];

/// Time-stamp counts, and the hypervisor's counts where it counts.
#[derive(Clone, Copy)]
struct Cost {
    time: u64,
    counted: Option<[u64; COUNTERS.len()]>,
}

fn counters() -> Option<[u64; COUNTERS.len()]> {
    let text = file::read_text("/proc/counters").unwrap_or_default();
    (!text.is_empty()).then(|| COUNTERS.map(|name| field_number(&text, name).unwrap_or(0)))
}

#[inline(never)]
fn once(act: &mut dyn FnMut()) -> Cost {
    let act = black_box(act);
    let before = counters();
    // SAFETY: RDTSC only reads the counter.
    let start = unsafe { _rdtsc() };
    act();
    // SAFETY: as above.
    let end = unsafe { _rdtsc() };
    let after = counters();
    let counted = before.zip(after).map(|(before, after)| each(after, before, u64::saturating_sub));
    Cost { time: end.saturating_sub(start), counted }
}

fn each<const N: usize>(a: [u64; N], b: [u64; N], of: fn(u64, u64) -> u64) -> [u64; N] {
    core::array::from_fn(|n| of(a[n], b[n]))
}

fn least(act: &mut dyn FnMut()) -> Cost {
    let mut best = once(act);
    for _ in 1..RUNS {
        let cost = once(act);
        best.time = best.time.min(cost.time);
        best.counted = best.counted.zip(cost.counted).map(|(best, cost)| each(best, cost, u64::min));
    }
    best
}

/// Counts an operation and prints its line. The cost of calling it and of looking is taken off.
fn line(name: &str, act: &mut dyn FnMut()) {
    // Once before it counts: pages are brought, caches of the kernel's filled.
    act();
    let looking = least(&mut || ());
    let cost = least(act);
    print!("compare {name} instructions={}", cost.time.saturating_sub(looking.time));
    if let Some((all, looking)) = cost.counted.zip(looking.counted) {
        let [entries, exceptions, interrupts, loads, flushes, invlpg] =
            each(all, looking, u64::saturating_sub);
        let hypercalls = entries.saturating_sub(exceptions).saturating_sub(interrupts);
        print!(" entries.hypercall={hypercalls} entries.exception={exceptions}");
        print!(" entries.interrupt={interrupts} cr3={loads} flushes={}", flushes + invlpg);
    }
    println!();
}

fn main(args: &Args) -> i32 {
    if args.get(1) == "nothing" {
        return 0;
    }
    if let Err(error) = operations() {
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

fn operations() -> sys::Result<()> {
    line("null-syscall", &mut || {
        sys::getpid();
    });
    page_faults()?;
    process_switch()?;
    ping_pong()?;
    line("fork-wait", &mut || {
        let _ = process::run(|| 0);
    });
    line("fork-exec-wait", &mut || {
        let _ = process::run(|| {
            process::exec("/bin/compare", &["compare", "nothing"]);
            127
        });
    });
    line("mmap-touch-munmap", &mut || {
        let Ok(at) = sys::mmap_anonymous(TOUCHED * PAGE, PROT_READ | PROT_WRITE) else { return };
        for n in 0..TOUCHED {
            // SAFETY: inside the fresh mapping.
            unsafe { at.add(n * PAGE).write_volatile(1) };
        }
        // SAFETY: nobody else uses the mapping.
        let _ = unsafe { sys::munmap(at, TOUCHED * PAGE) };
    });
    line("shell-script", &mut || {
        let _ = process::run(|| {
            process::exec("/bin/sh", &["sh", "-c", SCRIPT]);
            127
        });
    });
    Ok(())
}

/// First writes to pages of a mapping, one in each run.
fn page_faults() -> sys::Result<()> {
    let length = (2 * RUNS + 2) * PAGE;
    let at = sys::mmap_anonymous(length, PROT_READ | PROT_WRITE)?;
    let next = Cell::new(0);
    line("user-page-fault", &mut || {
        let offset = next.replace(next.get() + PAGE) % length;
        // SAFETY: inside the mapping, which nobody else uses.
        unsafe { at.add(offset).write_volatile(1) };
    });
    // SAFETY: as above.
    unsafe { sys::munmap(at, length) }
}

/// To another process and back: two switches.
fn process_switch() -> sys::Result<()> {
    let other = process::spawn(|| {
        loop {
            sys::sched_yield();
        }
    })?;
    line("process-switch", &mut sys::sched_yield);
    sys::kill(other as isize, signal::SIGKILL)?;
    process::wait(other).map(drop)
}

/// A byte to a child and one back, through two pipes.
fn ping_pong() -> sys::Result<()> {
    let (to_read, to_write) = sys::pipe()?;
    let (from_read, from_write) = sys::pipe()?;
    let child = process::spawn(|| {
        let _ = sys::close(to_write);
        let mut byte = [0];
        while sys::read(to_read, &mut byte) == Ok(1) && io::write_all(from_write, &byte).is_ok() {}
        0
    })?;
    line("pipe-ping-pong", &mut || {
        let mut byte = [7];
        let _ = sys::write(to_write, &byte);
        let _ = sys::read(from_read, &mut byte);
    });
    for end in [to_write, to_read, from_read, from_write] {
        sys::close(end)?;
    }
    process::wait(child).map(drop)
}
