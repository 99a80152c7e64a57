//! One job by several threads: the primes below a million, in pieces, by as many workers as there are CPUs (or
//! `parallel WORKERS [TIMES]`), must be those that one thread finds.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use ulib::primes::{Primes, of_piece};
use ulib::report::Report;
use ulib::{Args, sys, thread};

ulib::entry!(main);

const PIECES: usize = 64;
/// Primes below 2^20, which is 64 pieces.
const KNOWN: u64 = 82025;
const MAX_CPUS: usize = 64;

static NEXT: AtomicUsize = AtomicUsize::new(0);
static COUNT: AtomicU64 = AtomicU64::new(0);
static SUM: AtomicU64 = AtomicU64::new(0);
/// Pieces done on each CPU.
static DONE: [AtomicUsize; MAX_CPUS] = [const { AtomicUsize::new(0) }; MAX_CPUS];

extern "C" fn worker(_: usize) {
    loop {
        let piece = NEXT.fetch_add(1, Ordering::Relaxed);
        if piece >= PIECES {
            return;
        }
        let primes = of_piece(piece);
        COUNT.fetch_add(primes.count, Ordering::Relaxed);
        SUM.fetch_add(primes.sum, Ordering::Relaxed);
        DONE[sys::getcpu() % MAX_CPUS].fetch_add(1, Ordering::Relaxed);
    }
}

fn together(workers: usize) -> sys::Result<Primes> {
    NEXT.store(0, Ordering::Relaxed);
    COUNT.store(0, Ordering::Relaxed);
    SUM.store(0, Ordering::Relaxed);
    let mut threads = Vec::with_capacity(workers);
    for index in 0..workers {
        threads.push(thread::spawn(worker, index)?);
    }
    for thread in threads {
        thread.join()?;
    }
    Ok(Primes { count: COUNT.load(Ordering::Relaxed), sum: SUM.load(Ordering::Relaxed) })
}

fn main(args: &Args) -> i32 {
    let mut report = Report::new();
    let cpus = sys::affinity().count_ones() as usize;
    let workers = args.get(1).parse().unwrap_or_else(|_| cpus.max(2));
    let times: usize = args.get(2).parse().unwrap_or(1);
    let alone = (0..PIECES).map(of_piece).fold(Primes::default(), Primes::and);
    let mut wrong = None;
    for round in 0..times {
        match together(workers) {
            Ok(primes) if primes == alone => {}
            other => wrong = wrong.or(Some((round, other))),
        }
    }
    let mut shares = String::new();
    for (cpu, done) in DONE.iter().enumerate() {
        let done = done.load(Ordering::Relaxed);
        if done > 0 {
            let _ = write!(shares, " {cpu}:{done}");
        }
    }
    let good = alone.count == KNOWN && wrong.is_none();
    match wrong {
        None => report.check(
            "parallel",
            good,
            format_args!(
                "{times} times {} primes, sum {}, as one thread found; {workers} workers, pieces by cpu{shares}",
                alone.count, alone.sum
            ),
        ),
        Some((round, primes)) => {
            report.check("parallel", false, format_args!("round {round}: {primes:?}, alone {alone:?}"));
        }
    }
    report.code()
}
