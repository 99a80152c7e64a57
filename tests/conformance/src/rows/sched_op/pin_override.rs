//! `SCHEDOP_pin_override` (sched.h, `struct sched_pin_override`): binds the caller to a processor for a while, for the hardware domain
//! alone.
//!
//! Refused: any other domain (`EPERM`, before anything is read).

use paravane_abi::errno::Errno;
use paravane_abi::sched::{SCHEDOP_PIN_OVERRIDE, SchedPinOverride};

use super::{call, needs_no_privilege};
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "sched_op",
    "pin_override",
    &[
        Case::refusal("not-allowed", "a processor, and giving it back", not_allowed),
        Case::refusal("pointers", "the struct is not even read", unread),
    ],
);

fn not_allowed(t: &mut Trial) -> Verdict {
    needs_no_privilege()?;
    for (name, pcpu) in [("processor", 0), ("back", -1)] {
        let request = SchedPinOverride { pcpu };
        t.refused(name, Errno::EPERM, || call(SCHEDOP_PIN_OVERRIDE, &raw const request as u64));
    }
    Ok(())
}

fn unread(t: &mut Trial) -> Verdict {
    needs_no_privilege()?;
    for (name, address) in pointers::UNUSABLE {
        t.refused(name, Errno::EPERM, || call(SCHEDOP_PIN_OVERRIDE, address));
    }
    Ok(())
}
