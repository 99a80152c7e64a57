//! The ring-1 extension (`abi/src/ring1.rs`, docs/rings.md): what a kernel in ring 1 has that Xen's guests have not.
//!
//! The kernel runs with its own selectors, and its pages are the supervisor's. It calls by `int 0x82`, which keeps every
//! register but RAX. A program's `syscall` enters it without a frame, on the stack of `stack_switch`: RCX is the program's
//! RIP, R11 its flags, and its RSP lies in a slot that the kernel may read. Trap-table entries of vectors 0x30 to 0x80
//! for programs, without the mask flag, are gates that the processor takes by itself: the frame has no RCX and R11, and
//! no saved mask. The kernel returns by its own `iretq`.
//!
//! The event mask holds in ring 1 alone: an `iretq` to a program with an event pending delivers it there.

mod calls;
mod entries;
mod returns;

use crate::case::{Case, Rings, Row, Verdict};
use crate::trial::Trial;

/// The rows.
pub const ROWS: &[&Row] = &[
    &Row { call: "ring1", operation: Some("calls"), no_refusal: None, cases: calls::CASES },
    &Row { call: "ring1", operation: Some("entries"), no_refusal: None, cases: entries::CASES },
    &Row { call: "ring1", operation: Some("returns"), no_refusal: None, cases: returns::CASES },
];

const ONE: Rings = Rings::One("an extension that Xen does not have");

const fn good(name: &'static str, about: &'static str, run: fn(&mut Trial) -> Verdict) -> Case {
    Case::good(name, about, run).rings(ONE)
}

const fn refusal(name: &'static str, about: &'static str, run: fn(&mut Trial) -> Verdict) -> Case {
    Case::refusal(name, about, run).rings(ONE)
}
