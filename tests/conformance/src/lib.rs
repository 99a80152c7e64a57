//! The conformance suite of Xen's x86-64 PV ABI: a guest kernel that provokes its hypervisor, case by case, and says what
//! came of it. It boots on Xen and on Paravane; `cargo xtask conformance` runs it, and `docs/conformance.md` tells how to
//! run it on another hypervisor.
//!
//! [`rows`] has a file for each row of the table of hypercalls, [`topics`] the rest of the ABI. A [`case::Case`] is a function
//! that is given a [`trial::Trial`]; by that it prints what it observes, and says what should have been:
//!
//! ```text
//! conformance: begin ROW/CASE
//! conformance: value ROW/CASE WHAT = TEXT
//! conformance: wrong ROW/CASE WHAT: got TEXT, wanted TEXT
//! conformance: success|failure|error|skip ROW/CASE [: REASON]
//! conformance: end N
//! ```
//!
//! A value says the same on both when both behave alike: frames are told by the guest's numbers, addresses as distances
//! from where something begins. Where configuration makes a difference all the same, the case has the reason beside it
//! ([`case::Explained`]).
#![no_std]

pub mod case;
pub mod code;
pub mod pair;
pub mod rows;
pub mod run;
pub mod snapshot;
pub mod topics;
pub mod trial;

use case::{Case, Row};

/// All rows and topics, in the order in which they run.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    topics::ALL.iter().chain(rows::ALL).flat_map(|rows| rows.iter().copied())
}

/// All cases with their rows.
pub fn all() -> impl Iterator<Item = (&'static Row, &'static Case)> {
    rows().flat_map(|row| row.cases.iter().map(move |case| (row, case)))
}
