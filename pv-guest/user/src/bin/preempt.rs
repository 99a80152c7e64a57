//! Preemption: two programs that never enter the kernel share a CPU all the same.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::arch::x86_64::_rdtsc;
use ulib::process::{self, Status, signal};
use ulib::report::Report;
use ulib::{Args, file, io, sys};

ulib::entry!(main);

const MS: u64 = 1_000_000;

fn now() -> u64 {
    // SAFETY: reading the time-stamp counter has no effect.
    unsafe { _rdtsc() }
}

fn main(_args: &Args) -> i32 {
    let mut report = Report::new();
    // On one CPU, however many there are; children stay where their parent is.
    let all = sys::affinity();
    let _ = sys::set_affinity(all & all.wrapping_neg());
    match both_progress() {
        Ok((a, b)) => {
            // Without a system call between its first and last reading, one CPU can only have run the other
            // in between by taking it away.
            let overlap = a.0 < b.1 && b.0 < a.1;
            report.check("preempt", overlap, format_args!("two spinning processes ran in turns"));
        }
        Err(error) => report.check("preempt", false, format_args!("{error}")),
    }
    match spinner_killed() {
        Ok(status) => report.check(
            "preempt-kill",
            status == Status::Killed(signal::SIGKILL),
            format_args!("a process that spins for good: {status}"),
        ),
        Err(error) => report.check("preempt-kill", false, format_args!("{error}")),
    }
    report.code()
}

/// Start and end of two spins, in time-stamp counts.
fn both_progress() -> sys::Result<((u64, u64), (u64, u64))> {
    let (t0, n0) = (now(), sys::monotonic_ns());
    sys::sleep_ns(10 * MS)?;
    let per_ms = (now() - t0) * MS / (sys::monotonic_ns() - n0).max(1);
    let (reader, writer) = sys::pipe()?;
    let spin = || {
        let start = now();
        let mut end = start;
        while end - start < 150 * per_ms {
            end = now();
        }
        let mut message = [0; 16];
        message[..8].copy_from_slice(&start.to_le_bytes());
        message[8..].copy_from_slice(&end.to_le_bytes());
        i32::from(io::write_all(writer, &message).is_err())
    };
    let pids = [process::spawn(spin)?, process::spawn(spin)?];
    sys::close(writer)?;
    let bytes = file::read_to_end(reader)?;
    sys::close(reader)?;
    for pid in pids {
        process::wait(pid)?;
    }
    let words: Vec<u64> =
        bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default())).collect();
    match words[..] {
        [a, b, c, d] => Ok(((a, b), (c, d))),
        _ => Err(ulib::Errno::EIO),
    }
}

fn spinner_killed() -> sys::Result<Status> {
    let pid = process::spawn(|| {
        loop {
            core::hint::spin_loop();
        }
    })?;
    sys::sleep_ns(20 * MS)?;
    sys::kill(pid as isize, signal::SIGKILL)?;
    process::wait(pid)
}
