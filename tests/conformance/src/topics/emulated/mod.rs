//! Instructions that the hypervisor does on the guest's behalf, and those that it refuses (what Xen 4.17 emulates for a PV
//! guest: SDM volume 2 for what each does).
//!
//! The kernel may read and write CR0 (TS alone changes), CR2, CR3 (a root of its own) and CR4 (TSD, DE, FSGSBASE and
//! OSXSAVE change, other bits are ignored), clear TS, read and write debug registers and some MSRs, flush caches, and load
//! XCR0. With IOPL 1 or more by `PHYSDEVOP_set_iopl`, or the port's bit clear by `PHYSDEVOP_set_iobitmap`, ports that are not
//! its own read as ones; a program needs IOPL 3. Everything else that ring 0 alone may do is #GP, at the instruction; what
//! does not exist is #UD. `cpuid` behind the bytes `0f 0b 78 65 6e` is emulated for both halves.

mod control;
mod forced;
mod ports;
mod refused;
mod tables;

use crate::case::Row;

/// The rows.
pub const ROWS: &[&Row] = &[
    &Row {
        call: "emulated-instructions",
        operation: Some("control"),
        no_refusal: None,
        cases: control::CASES,
    },
    &Row { call: "emulated-instructions", operation: Some("forced"), no_refusal: None, cases: forced::CASES },
    &Row { call: "emulated-instructions", operation: Some("ports"), no_refusal: None, cases: ports::CASES },
    &Row {
        call: "emulated-instructions",
        operation: Some("refused"),
        no_refusal: None,
        cases: refused::CASES,
    },
    &Row { call: "emulated-instructions", operation: Some("tables"), no_refusal: None, cases: tables::CASES },
];
