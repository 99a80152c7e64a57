//! `SCHEDOP_yield` (sched.h): lets others run. There is no argument.

use paravane_abi::sched::SCHEDOP_YIELD;

use super::call;
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "sched_op",
    "yield_cpu",
    &[
        Case::good("yields", "nothing has changed when the caller goes on", yields),
        Case::good("no-argument", "whatever stands for one is not looked at", no_argument),
    ],
)
.no_refusal("there is no argument, and giving way is always possible");

fn yields(t: &mut Trial) -> Verdict {
    let result = t.unchanged("yield", || call(SCHEDOP_YIELD, 0));
    t.succeeds("yield", result);
    Ok(())
}

fn no_argument(t: &mut Trial) -> Verdict {
    for (name, address) in pointers::UNUSABLE {
        t.succeeds(name, call(SCHEDOP_YIELD, address));
    }
    Ok(())
}
