//! Threads: they share memory and a process, end with it, and see each other's changes to its mappings at once.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use ulib::process::{self, Status, signal};
use ulib::report::Report;
use ulib::thread::{self, Lock};
use ulib::{Args, sys};

ulib::entry!(main);

const THREADS: usize = 4;
const ROUNDS: u64 = 500;
const MS: u64 = 1_000_000;

static LOCK: Lock = Lock::new();
/// Read and written apart, so that it is right only when the lock works.
static TOTAL: AtomicU64 = AtomicU64::new(0);
static IDS: [AtomicUsize; THREADS] = [const { AtomicUsize::new(0) }; THREADS];

fn main(_args: &Args) -> i32 {
    let mut report = Report::new();
    match adding() {
        Ok((total, apart)) => report.check(
            "threads",
            total == THREADS as u64 * ROUNDS && apart,
            format_args!("{THREADS} threads of one process added {total} under a lock"),
        ),
        Err(error) => report.check("threads", false, format_args!("{error}")),
    }
    for (name, child, wanted) in [
        ("thread-exit", exits_with_a_spinning_thread as fn() -> i32, Status::Exited(3)),
        ("thread-fault", faults_in_a_thread, Status::Killed(signal::SIGSEGV)),
        ("thread-protect", protects_under_a_writer, Status::Killed(signal::SIGSEGV)),
        ("thread-unmap", unmaps_under_a_writer, Status::Killed(signal::SIGSEGV)),
    ] {
        match process::run(child) {
            Ok(status) => report.check(name, status == wanted, format_args!("{status}")),
            Err(error) => report.check(name, false, format_args!("{error}")),
        }
    }
    report.code()
}

extern "C" fn add(index: usize) {
    IDS[index].store(sys::gettid(), Ordering::Relaxed);
    for round in 0..ROUNDS {
        LOCK.with(|| {
            let seen = TOTAL.load(Ordering::Relaxed);
            if round % 64 == 0 {
                sys::sched_yield();
            }
            TOTAL.store(seen + 1, Ordering::Relaxed);
        });
    }
}

/// The total, and whether the threads' ids were different and their process the same.
fn adding() -> sys::Result<(u64, bool)> {
    let mut threads = Vec::with_capacity(THREADS);
    for index in 0..THREADS {
        threads.push(thread::spawn(add, index)?);
    }
    let mut ids: Vec<usize> = threads.iter().map(|thread| thread.id).collect();
    for thread in threads {
        thread.join()?;
    }
    let told = IDS.iter().zip(&ids).all(|(told, id)| told.load(Ordering::Relaxed) == *id);
    ids.push(sys::getpid());
    ids.sort_unstable();
    ids.dedup();
    Ok((TOTAL.load(Ordering::Relaxed), told && ids.len() == THREADS + 1))
}

static STARTED: AtomicU32 = AtomicU32::new(0);

/// Keeps this thread to the first CPU, and the one it starts to another if there is one.
fn elsewhere(function: thread::Function, argument: usize) -> bool {
    let all = sys::affinity();
    let first = all & all.wrapping_neg();
    let others = if all == first { all } else { all & !first };
    STARTED.store(0, Ordering::SeqCst);
    let _ = sys::set_affinity(others);
    let started = thread::spawn(function, argument).is_ok();
    let _ = sys::set_affinity(first);
    while started && STARTED.load(Ordering::SeqCst) == 0 {
        sys::sched_yield();
    }
    started
}

extern "C" fn spin(_: usize) {
    STARTED.store(1, Ordering::SeqCst);
    loop {
        core::hint::spin_loop();
    }
}

fn exits_with_a_spinning_thread() -> i32 {
    if elsewhere(spin, 0) { 3 } else { 1 }
}

extern "C" fn fault(_: usize) {
    STARTED.store(1, Ordering::SeqCst);
    // SAFETY: the null page is mapped nowhere: this ends the process.
    unsafe { core::ptr::without_provenance_mut::<u8>(8).write_volatile(1) };
}

/// A thread's fault ends the process, its first thread too.
fn faults_in_a_thread() -> i32 {
    i32::from(!elsewhere(fault, 0) || sys::sleep_ns(5000 * MS).is_ok())
}

extern "C" fn write_for_ever(page: usize) {
    loop {
        // SAFETY: mapped until the process's end is due.
        unsafe { core::ptr::with_exposed_provenance_mut::<u8>(page).write_volatile(1) };
        STARTED.store(1, Ordering::SeqCst);
    }
}

/// The page that a thread writes without end.
fn written_page() -> Option<*mut u8> {
    let page = sys::mmap_anonymous(4096, sys::PROT_READ | sys::PROT_WRITE).ok()?;
    elsewhere(write_for_ever, page.expose_provenance()).then_some(page)
}

/// Whoever still writes after the call has returned is stopped by nothing but the fault.
fn protects_under_a_writer() -> i32 {
    let Some(page) = written_page() else { return 1 };
    // SAFETY: the writer is meant to fault.
    let done = unsafe { sys::mprotect(page, 4096, sys::PROT_READ) };
    i32::from(done.is_err() || sys::sleep_ns(5000 * MS).is_ok())
}

fn unmaps_under_a_writer() -> i32 {
    let Some(page) = written_page() else { return 1 };
    // SAFETY: the writer is meant to fault.
    let done = unsafe { sys::munmap(page, 4096) };
    i32::from(done.is_err() || sys::sleep_ns(5000 * MS).is_ok())
}
