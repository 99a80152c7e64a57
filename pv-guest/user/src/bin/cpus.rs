//! The CPUs: work is done on each, by a thread that is kept there.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::String;
use core::fmt::Write;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use ulib::primes::of_piece;
use ulib::report::Report;
use ulib::{Args, file, print, sys, thread};

ulib::entry!(main);

const MAX_CPUS: usize = 64;
/// Pieces of work for each.
const PIECES: usize = 8;

static DONE: [AtomicUsize; MAX_CPUS] = [const { AtomicUsize::new(0) }; MAX_CPUS];
/// CPUs on which a thread found itself that was kept to another.
static STRAYED: AtomicU64 = AtomicU64::new(0);

extern "C" fn work(cpu: usize) {
    if sys::set_affinity(1 << cpu).is_err() {
        return;
    }
    for piece in 0..PIECES {
        core::hint::black_box(of_piece(piece));
        let here = sys::getcpu();
        if here != cpu {
            STRAYED.fetch_or(1 << (here % MAX_CPUS), Ordering::Relaxed);
        }
        DONE[here % MAX_CPUS].fetch_add(1, Ordering::Relaxed);
    }
}

fn main(_args: &Args) -> i32 {
    let mut report = Report::new();
    let all = sys::affinity();
    let cpus = (0..MAX_CPUS).filter(|cpu| all & (1 << cpu) != 0);
    let mut threads = alloc::vec::Vec::new();
    for cpu in cpus.clone() {
        match thread::spawn(work, cpu) {
            Ok(thread) => threads.push(thread),
            Err(error) => report.check("cpus", false, format_args!("a thread for cpu {cpu}: {error}")),
        }
    }
    for thread in threads {
        let _ = thread.join();
    }
    let mut shares = String::new();
    let mut good = STRAYED.load(Ordering::Relaxed) == 0;
    for cpu in cpus {
        let done = DONE[cpu].load(Ordering::Relaxed);
        good &= done == PIECES;
        let _ = write!(shares, " {cpu}:{done}");
    }
    report.check("cpus", good, format_args!("{} cpus, pieces of work by cpu{shares}", all.count_ones()));
    if let Ok(text) = file::read_text("/proc/cpus") {
        print!("{text}");
    }
    report.code()
}
