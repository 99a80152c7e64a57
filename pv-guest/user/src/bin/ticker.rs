//! A 100 Hz timer in a program, for a second or `ticker SECONDS`: how many ticks came after the next one was due.
//! `ticker SECONDS PERCENT` fails if more were missed. Without a limit all must have been due, and no more is asked: on
//! an emulator whose host is busy, ticks are late that no guest could have taken in time.
#![no_std]
#![no_main]

use ulib::report::Report;
use ulib::{Args, sys};

ulib::entry!(main);

const PERIOD_NS: u64 = 10_000_000;

fn main(args: &Args) -> i32 {
    let mut report = Report::new();
    let seconds: u64 = args.get(1).parse().unwrap_or(1);
    let limit: Option<u64> = args.get(2).parse().ok();
    let start = sys::monotonic_ns();
    let ticks = seconds * 100;
    let (mut missed, mut next) = (0, 1);
    while next <= ticks {
        if sys::sleep_until(start + next * PERIOD_NS).is_err() {
            break;
        }
        let now = sys::monotonic_ns();
        // Ticks are numbered from 1; this one is overtaken when a later one is due.
        let due = ((now - start) / PERIOD_NS).min(ticks).max(next);
        missed += due - next;
        next = due + 1;
    }
    report.check(
        "ticker",
        next > ticks && limit.is_none_or(|percent| missed * 100 <= ticks * percent),
        format_args!("{ticks} ticks due in {seconds} s, {missed} missed"),
    );
    report.code()
}
