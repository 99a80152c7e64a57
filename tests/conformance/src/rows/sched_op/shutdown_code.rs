//! `SCHEDOP_shutdown_code` (sched.h, `struct sched_shutdown`): notes the reason of an end that is still to come. The first one
//! counts.
//!
//! Refused: a struct that cannot be read (`EFAULT`).

use paravane_abi::sched::{SCHEDOP_SHUTDOWN_CODE, SHUTDOWN_POWEROFF, SchedShutdown};

use super::{call, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "sched_op",
    "shutdown_code",
    &[
        Case::good("notes", "the domain goes on, and nothing has changed", notes),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, SCHEDOP_SHUTDOWN_CODE);
            Ok(())
        }),
    ],
);

fn notes(t: &mut Trial) -> Verdict {
    // The reason for which the domain will end anyway.
    let request = SchedShutdown { reason: SHUTDOWN_POWEROFF };
    let result = t.unchanged("note", || call(SCHEDOP_SHUTDOWN_CODE, &raw const request as u64));
    t.succeeds("note", result);
    Ok(())
}
