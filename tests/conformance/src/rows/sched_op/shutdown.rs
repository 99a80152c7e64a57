//! `SCHEDOP_shutdown` (sched.h, `struct sched_shutdown`): ends the domain for a reason, of which the low byte counts. It does not
//! return; every domain of this suite ends by it.
//!
//! Refused: a struct that cannot be read (`EFAULT`).

use paravane_abi::sched::SCHEDOP_SHUTDOWN;

use super::unreadable;
use crate::case::{Case, Row};

/// The row.
pub const ROW: Row = Row::operation(
    "sched_op",
    "shutdown",
    &[Case::refusal("pointers", "structs that cannot be read", |t| {
        unreadable(t, SCHEDOP_SHUTDOWN);
        Ok(())
    })],
);
