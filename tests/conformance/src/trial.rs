//! What a case says by: values it observed, and what they should have been.
//!
//! Every method prints the value, so that hypervisors can be compared in more than what the case asks for.

use core::fmt::{Debug, Display};
use core::sync::atomic::{AtomicUsize, Ordering};

use paravane_abi::errno::Errno;
use pv_probe::guard::Caught;
use pv_probe::hypercall::code;
use pv_probe::say;

use crate::case::{Case, FullName, Kind, Row, Stop, Verdict};
use crate::pair::Side;
use crate::rows::tables::places;
use crate::snapshot::{Difference, Snapshot};

/// The running case: its place among [`crate::all`], from 1.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

fn running() -> Option<FullName> {
    let place = RUNNING.load(Ordering::Relaxed).checked_sub(1)?;
    crate::all().nth(place).map(|(row, case)| FullName(row, case))
}

/// Prints a value that the running case observed. Outside of cases nothing is printed.
pub fn observed(what: impl Display, value: impl Display) {
    if let Some(name) = running() {
        say!("conformance: value {name} {what} = {value}");
    }
}

/// Prints a value of the running case: its name, and how it is written.
#[macro_export]
macro_rules! observe {
    ($name:literal, $($arg:tt)*) => {
        $crate::trial::observed(format_args!($name), format_args!($($arg)*))
    };
    (($($name:tt)*), $($arg:tt)*) => {
        $crate::trial::observed(format_args!($($name)*), format_args!($($arg)*))
    };
}

/// A running case.
#[derive(Debug)]
pub struct Trial {
    name: FullName,
    side: Side,
    failures: usize,
}

impl Trial {
    /// Runs a case, and prints how it ended: whether it succeeded or was skipped.
    pub fn run(place: usize, row: &'static Row, case: &'static Case, side: Side) -> bool {
        let mut trial = Self { name: FullName(row, case), side, failures: 0 };
        let name = trial.name;
        RUNNING.store(place + 1, Ordering::Relaxed);
        say!("conformance: begin {name}");
        let verdict = (case.run)(&mut trial);
        RUNNING.store(0, Ordering::Relaxed);
        match verdict {
            Err(Stop::Skip(reason)) => say!("conformance: skip {name} : {reason}"),
            Err(Stop::Error(what, result)) => say!("conformance: error {name} : {what}: {}", code(result)),
            Ok(()) if trial.failures > 0 => {
                say!("conformance: failure {name} : {} values are wrong", trial.failures);
            }
            Ok(()) if case.kind == Kind::Fatal => say!("conformance: failure {name} : it survived"),
            Ok(()) => say!("conformance: success {name}"),
        }
        match verdict {
            Ok(()) => trial.failures == 0 && case.kind != Kind::Fatal,
            Err(stop) => matches!(stop, Stop::Skip(_)),
        }
    }

    /// The side that this domain plays: one alone, or left or right of a pair.
    #[must_use]
    pub const fn side(&self) -> Side {
        self.side
    }

    /// Prints a value that is compared between hypervisors, and that the case asks nothing of.
    pub fn observe(&mut self, what: impl Display, value: impl Display) {
        observed(format_args!("{}{what}", self.side.prefix()), value);
    }

    fn wrong(&mut self, what: impl Display, got: impl Display, want: impl Display) {
        self.failures += 1;
        say!("conformance: wrong {} {}{what}: got {got}, wanted {want}", self.name, self.side.prefix());
    }

    /// A number, printed in hexadecimal, should be another.
    pub fn equal(&mut self, what: impl Display, got: u64, want: u64) {
        self.observe(&what, format_args!("{got:#x}"));
        if got != want {
            self.wrong(what, format_args!("{got:#x}"), format_args!("{want:#x}"));
        }
    }

    /// A value, printed as `Debug` does, should be another.
    pub fn same<T: PartialEq + Debug>(&mut self, what: impl Display, got: T, want: T) {
        self.observe(&what, format_args!("{got:?}"));
        if got != want {
            self.wrong(what, format_args!("{got:?}"), format_args!("{want:?}"));
        }
    }

    /// Something should be so. For what differs from machine to machine: the value itself is not printed.
    pub fn holds(&mut self, what: impl Display, good: bool) {
        self.observe(&what, good);
        if !good {
            self.wrong(what, false, true);
        }
    }

    /// A call should have given this result.
    pub fn result(&mut self, what: impl Display, got: i64, want: i64) {
        self.observe(&what, code(got));
        if got != want {
            self.wrong(what, code(got), code(want));
        }
    }

    /// A call should have given 0.
    pub fn succeeds(&mut self, what: impl Display, got: i64) {
        self.result(what, got, 0);
    }

    /// A call should have given an error.
    pub fn fails(&mut self, what: impl Display, got: i64, error: Errno) {
        self.result(what, got, error.to_ret());
    }

    /// A call should give an error, and nothing of this domain should have changed by it: page tables, the shared page,
    /// event channels, grants, debug registers, memory ([`Snapshot`]).
    pub fn refused(&mut self, what: impl Display, error: Errno, call: impl FnOnce() -> i64) {
        let result = self.unchanged(&what, call);
        self.fails(what, result, error);
    }

    /// Nothing of this domain should change by a call, whatever it gives.
    pub fn unchanged<R>(&mut self, what: impl Display, call: impl FnOnce() -> R) -> R {
        // A call that runs alone finds the tables that cases map by as one that runs behind others.
        places();
        let before = Snapshot::take();
        let result = call();
        if let Some(Difference(part)) = before.difference(&Snapshot::take()) {
            self.wrong(format_args!("{what}.unchanged"), format_args!("{part} changed"), "nothing");
        }
        result
    }

    /// Something should have raised this exception (or other entry of [`pv_probe::guard`]), with this error code if it has one.
    pub fn raises(&mut self, what: impl Display, caught: &Caught, vector: u64, error: Option<u64>) {
        struct Raised(u64, Option<u64>);
        impl Display for Raised {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "vector {}", self.0)?;
                self.1.map_or(Ok(()), |error| write!(f, " error {error:x}"))
            }
        }
        let got = Raised(caught.vector, caught.error());
        self.observe(&what, &got);
        if (got.0, got.1) != (vector, error) {
            self.wrong(what, got, Raised(vector, error));
        }
    }

    /// What the case needs first: a call that should give 0, not looked at any further.
    ///
    /// # Errors
    /// An end of the case as an error.
    pub fn need(&mut self, what: &'static str, result: i64) -> Verdict {
        if result == 0 { Ok(()) } else { Err(Stop::Error(what, result)) }
    }
}
