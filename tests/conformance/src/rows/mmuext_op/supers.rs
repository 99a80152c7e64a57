//! `MMUEXT_MARK_SUPER` and `MMUEXT_UNMARK_SUPER`, operations 19 and 20 of `mmuext_op` (xen/include/public/xen.h).
//!
//! Declared 2 MiB of a domain's memory to be mapped by large pages alone. Xen has had no superpages of PV domains since 4.9.
//!
//! Refused: always (`EOPNOTSUPP`).

use paravane_abi::errno::Errno;
use paravane_abi::mmu::{MMUEXT_MARK_SUPER, MMUEXT_UNMARK_SUPER};
use pv_probe::hypercall::mmuext;

use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::rows::tables::frame;
use crate::trial::Trial;

/// Operation 19.
pub const MARK_SUPER: Row = Row::operation(
    "mmuext_op",
    "mark_super",
    &[Case::refusal("gone", "any frame", |t| gone(t, MMUEXT_MARK_SUPER))],
);

/// Operation 20.
pub const UNMARK_SUPER: Row = Row::operation(
    "mmuext_op",
    "unmark_super",
    &[Case::refusal("gone", "any frame", |t| gone(t, MMUEXT_UNMARK_SUPER))],
);

fn gone(t: &mut Trial, command: u32) -> Verdict {
    for (name, frame) in
        [("aligned", frame() & !511), ("unaligned", frame() | 1), ("none", pointers::NO_FRAME)]
    {
        t.refused(name, Errno::EOPNOTSUPP, || mmuext(command, frame, 0));
    }
    Ok(())
}
