//! `SCHEDOP_watchdog` (sched.h, `struct sched_watchdog`): timers that end the domain unless they are set anew in time, two of them.
//!
//! Id 0 starts one and gives its number, 1 or 2. With a number, a timeout in seconds sets the timer anew, and 0 stops it.
//!
//! Refused: a struct that cannot be read (`EFAULT`), a number that is not in use or past the last (`EINVAL`), a third timer
//! (`ENOSPC`, as a number of 32 bits: its sign is not extended).

use paravane_abi::errno::Errno;
use paravane_abi::sched::{SCHEDOP_WATCHDOG, SchedWatchdog};

use super::{call, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "sched_op",
    "watchdog",
    &[
        Case::good("numbers", "the first is number 1, the next number 2", numbers),
        Case::good("set-anew", "a timer is set anew, and stopped by its number", set_anew),
        Case::good("lowest", "a number that is free again is given again", lowest),
        Case::refusal("third", "there are two", third),
        Case::refusal("not-in-use", "numbers that are not in use", not_in_use),
        Case::refusal("past-last", "numbers past the last", past_last),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, SCHEDOP_WATCHDOG);
            Ok(())
        }),
    ],
);

/// A timeout that no run reaches, in seconds.
const LONG: u32 = 36_000;

fn set(id: u32, timeout: u32) -> i64 {
    let request = SchedWatchdog { id, timeout };
    call(SCHEDOP_WATCHDOG, &raw const request as u64)
}

fn stop(t: &mut Trial, ids: &[u32]) {
    for &id in ids {
        t.succeeds("stop", set(id, 0));
    }
}

fn numbers(t: &mut Trial) -> Verdict {
    t.result("first", set(0, LONG), 1);
    t.result("second", set(0, LONG), 2);
    stop(t, &[1, 2]);
    Ok(())
}

fn set_anew(t: &mut Trial) -> Verdict {
    t.result("start", set(0, LONG), 1);
    t.succeeds("again", set(1, LONG + 1));
    stop(t, &[1]);
    t.fails("stopped", set(1, LONG), Errno::EINVAL);
    Ok(())
}

fn lowest(t: &mut Trial) -> Verdict {
    t.result("first", set(0, LONG), 1);
    t.result("second", set(0, LONG), 2);
    stop(t, &[1]);
    t.result("again", set(0, LONG), 1);
    stop(t, &[2, 1]);
    Ok(())
}

fn third(t: &mut Trial) -> Verdict {
    t.result("first", set(0, LONG), 1);
    t.result("second", set(0, LONG), 2);
    let third = t.unchanged("third", || set(0, LONG));
    t.result("third", third, Errno::ENOSPC.to_ret() & i64::from(u32::MAX));
    stop(t, &[1, 2]);
    Ok(())
}

fn not_in_use(t: &mut Trial) -> Verdict {
    for id in [1, 2] {
        t.refused(format_args!("set-{id}"), Errno::EINVAL, || set(id, LONG));
        t.refused(format_args!("stop-{id}"), Errno::EINVAL, || set(id, 0));
    }
    Ok(())
}

fn past_last(t: &mut Trial) -> Verdict {
    for (name, id) in [("three", 3), ("all-ones", u32::MAX)] {
        t.refused(name, Errno::EINVAL, || set(id, LONG));
    }
    Ok(())
}
