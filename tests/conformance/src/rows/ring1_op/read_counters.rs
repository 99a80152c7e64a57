//! `RING1_OP_READ_COUNTERS` (`paravane_abi::ring1::Ring1Counters`): what the hypervisor has counted for the domain since it started.
//!
//! Refused: a struct that cannot be written (`EFAULT`).

use paravane_abi::errno::Errno;
use paravane_abi::ring1::{RING1_OP_READ_COUNTERS, Ring1Counters};
use pv_probe::events;
use pv_probe::hypercall::yield_now;

use super::{ALONE, call};
use crate::case::{Case, Row, Stop, Verdict};
use crate::rows::event_channel_op::{close_all, got};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "ring1_op",
    "read_counters",
    &[
        Case::good("hypercalls", "calls are counted one by one", hypercalls).rings(ALONE),
        Case::good("events", "an event that is delivered is counted", delivered).rings(ALONE),
        Case::good("grow", "no count becomes smaller", grow).rings(ALONE),
        Case::refusal("pointers", "structs that cannot be written", unwritable).rings(ALONE),
    ],
);

fn read() -> Result<Ring1Counters, Stop> {
    let mut counters = Ring1Counters::default();
    match call(RING1_OP_READ_COUNTERS, &raw mut counters as u64) {
        0 => Ok(counters),
        error => Err(Stop::Error("the counters", error)),
    }
}

fn hypercalls(t: &mut Trial) -> Verdict {
    let before = read()?;
    for _ in 0..5 {
        yield_now();
    }
    // The call that reads is one too.
    t.equal("calls", read()?.since(&before).hypercalls, 6);
    Ok(())
}

fn delivered(t: &mut Trial) -> Verdict {
    events::settle();
    let port = got("bind", events::bind_ipi(0))?;
    t.need("send", events::send(port))?;
    let before = read()?;
    events::deliver();
    t.equal("events", read()?.since(&before).events_delivered, 1);
    close_all(t, &[port]);
    Ok(())
}

fn grow(t: &mut Trial) -> Verdict {
    let (first, second) = (read()?, read()?);
    let pairs = first.named().into_iter().zip(second.named());
    for ((name, before), (_, after)) in pairs {
        t.holds(name, after >= before);
    }
    t.holds("entries", second.total_entries > first.total_entries);
    Ok(())
}

fn unwritable(t: &mut Trial) -> Verdict {
    for (name, address) in pointers::UNUSABLE {
        t.refused(name, Errno::EFAULT, || call(RING1_OP_READ_COUNTERS, address));
    }
    Ok(())
}
