//! `sleep SECONDS` sleeps; without a word it checks that sleeping takes the time asked, and not the CPU's.
#![no_std]
#![no_main]

use ulib::process::{self, Status};
use ulib::report::Report;
use ulib::{Args, eprintln, sys};

ulib::entry!(main);

const MS: u64 = 1_000_000;

fn main(args: &Args) -> i32 {
    if args.len() < 2 {
        return test();
    }
    let Some(ns) = duration(args.get(1)) else {
        eprintln!("usage: sleep [SECONDS]");
        return 2;
    };
    i32::from(sys::sleep_ns(ns).is_err())
}

/// Seconds with an optional fraction, in nanoseconds.
fn duration(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut ns = whole.parse::<u64>().ok()?.checked_mul(1_000_000_000)?;
    let mut unit = 100_000_000;
    for digit in fraction.chars() {
        ns += u64::from(digit.to_digit(10)?) * unit;
        unit /= 10;
    }
    Some(ns)
}

fn test() -> i32 {
    let mut report = Report::new();
    let start = sys::monotonic_ns();
    let slept = sys::sleep_ns(50 * MS);
    let took = sys::monotonic_ns() - start;
    report.check(
        "sleep",
        slept.is_ok() && (50 * MS..2000 * MS).contains(&took),
        format_args!("asked for 50 ms, at least that passed"),
    );
    // Two sleepers of different length: the shorter one, started later, wakes first.
    let start = sys::monotonic_ns();
    let long = process::spawn(|| i32::from(sys::sleep_ns(400 * MS).is_err()));
    let short = process::spawn(|| i32::from(sys::sleep_ns(20 * MS).is_err()));
    let first = sys::wait4(-1, 0);
    let order = matches!((&first, &short), (Ok((pid, 0)), Ok(short)) if pid == short);
    let rest = long.and_then(process::wait) == Ok(Status::Exited(0));
    let total = sys::monotonic_ns() - start;
    report.check(
        "sleep-together",
        order && rest && total >= 400 * MS,
        format_args!("two sleepers wake in the order of their times"),
    );
    report.code()
}
