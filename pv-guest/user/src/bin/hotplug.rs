//! CPUs go down and come up again, a hundred times each, while a process spins on one of them; `hotplug TIMES SPINNERS`
//! says how often and beside how many, of which every other one may also run where this program runs.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::vec::Vec;
use ulib::process::{self, signal};
use ulib::report::Report;
use ulib::{Args, Errno, file, sys};

ulib::entry!(main);

/// Whether the kernel lists a CPU as up.
fn is_up(cpu: usize) -> bool {
    let text = file::read_text("/proc/cpus").unwrap_or_default();
    let start = format!("cpu {cpu} up ");
    text.lines().any(|line| line.starts_with(&start))
}

/// Once down and up, each checked.
fn cycle(cpu: usize) -> Result<(), (&'static str, Errno)> {
    file::write("/proc/cpus", format!("down {cpu}").as_bytes()).map_err(|error| ("down", error))?;
    if is_up(cpu) {
        return Err(("still up", Errno::EIO));
    }
    // A function that runs on all others, none of which is gone.
    file::write("/proc/cpus", b"call 0").map_err(|error| ("call", error))?;
    file::write("/proc/cpus", format!("up {cpu}").as_bytes()).map_err(|error| ("up", error))?;
    if is_up(cpu) { Ok(()) } else { Err(("still down", Errno::EIO)) }
}

fn main(args: &Args) -> i32 {
    let mut report = Report::new();
    let times: usize = args.get(1).parse().unwrap_or(100);
    let all = sys::affinity();
    let cpus: Vec<usize> = (1..64).filter(|cpu| all & (1 << cpu) != 0).collect();
    // This process stays where nothing goes away.
    let _ = sys::set_affinity(1);
    // They never give their CPU up, and must be moved whenever it goes away.
    let count: usize = args.get(2).parse().unwrap_or(1);
    let spinners: Vec<usize> = (0..count)
        .filter_map(|number| {
            process::spawn(|| {
                let _ = sys::set_affinity(if number % 2 == 0 { all & !1 } else { all });
                loop {
                    core::hint::spin_loop();
                }
            })
            .ok()
        })
        .collect();
    let mut done = 0;
    let mut wrong = None;
    for _ in 0..times {
        for &cpu in &cpus {
            match cycle(cpu) {
                Ok(()) => done += 1,
                Err(error) => wrong = wrong.or(Some((cpu, error))),
            }
        }
    }
    for pid in spinners {
        let _ = sys::kill(pid as isize, signal::SIGKILL);
        let _ = process::wait(pid);
    }
    match wrong {
        None => report.check(
            "hotplug",
            true,
            format_args!("{} cpus besides the first, {done} times down and up", cpus.len()),
        ),
        Some((cpu, (what, error))) => {
            report.check("hotplug", false, format_args!("cpu {cpu} {what}: {error}, {done} were good"));
        }
    }
    report.code()
}
