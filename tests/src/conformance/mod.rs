//! The conformance suite, from outside: which machines are booted for which cases, how each case ended, what it saw, and
//! what real Xen showed it (`docs/conformance.md`).

pub mod boot;
pub mod catalogue;
pub mod compare;
pub mod coverage;
#[cfg(test)]
pub(crate) mod fixture;
pub mod golden;
pub mod hunt;
pub mod lines;
pub mod plan;
pub mod seen;

use crate::oracle::Hypervisor;
use crate::scenario::Context;
use anyhow::{Result, ensure};
use catalogue::{Entry, Selection};
use lines::Outcome;
use seen::Observed;
use std::fmt;

/// The kernel's file among the images.
pub const IMAGE: &str = "paravane-conformance.elf";

/// The machine that kernels of the suite run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// Paravane's extension: the kernel is in ring 1.
    PvRing1,
    /// Xen's own interface.
    PvRing3,
}

impl Machine {
    /// As `--machine` calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PvRing1 => "pv-ring1",
            Self::PvRing3 => "pv-ring3",
        }
    }
}

/// What the suite is run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The hypervisor.
    pub hypervisor: Hypervisor,
    /// The machine.
    pub machine: Machine,
}

impl Target {
    /// Paravane as Xen.
    pub const PARAVANE: Self = Self { hypervisor: Hypervisor::Paravane, machine: Machine::PvRing3 };
    /// Paravane's extension.
    pub const RING1: Self = Self { hypervisor: Hypervisor::Paravane, machine: Machine::PvRing1 };
    /// Real Xen.
    pub const XEN: Self = Self { hypervisor: Hypervisor::Xen, machine: Machine::PvRing3 };
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.hypervisor.name(), self.machine.name())
    }
}

/// A case, and how it ended.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The case.
    pub entry: Entry,
    /// How it ended, and what it saw.
    pub seen: Observed,
}

/// All that came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// What it ran on.
    pub target: Target,
    /// The cases, in the order of the suite.
    pub cases: Vec<Judged>,
}

impl Report {
    /// How many cases ended so.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.cases.iter().filter(|case| case.seen.outcome == outcome).count()
    }

    /// Whether a case failed, erred or crashed.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.cases.iter().any(|case| case.seen.outcome.is_bad())
    }

    /// The case's end, by its full name.
    #[must_use]
    pub fn find(&self, entry: &Entry) -> Option<&Judged> {
        let same = |case: &&Judged| std::ptr::eq(case.entry.case, entry.case);
        self.cases.iter().find(same)
    }

    /// The cases that are no success, a line each, with what differed behind it.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        let cases = self.cases.iter().filter(|case| case.seen.outcome != Outcome::Success);
        cases
            .flat_map(|case| {
                let Observed { outcome, reason, wrong, .. } = &case.seen;
                let colon = if reason.is_empty() { "" } else { ": " };
                let first = format!("{} {}{colon}{reason}", outcome.name(), case.entry.name());
                [first].into_iter().chain(wrong.iter().map(|text| format!("    {text}")))
            })
            .collect()
    }
}

/// The sum: `conformance: N success, N failure, N error, N skip, N crash`.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("conformance: ")?;
        for (at, outcome) in Outcome::ALL.into_iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{} {}", self.count(outcome), outcome.name())?;
        }
        Ok(())
    }
}

/// Cases that are tried again by themselves, at most: where more end badly, it is not the host that was busy.
const AGAIN: usize = 8;

/// Runs the cases of a choice that make sense on a target. A few that ended badly are tried again by themselves: time in an
/// emulator is the host's, and a case that waits for some of it may have had none. What ends badly twice is bad.
pub fn run(
    context: &Context,
    target: Target,
    selection: &Selection,
    say: &(dyn Fn(String) + Sync),
) -> Result<Report> {
    selection.check()?;
    let cases = selection.on(target.machine);
    ensure!(!cases.is_empty(), "no case is chosen by {selection:?} on {target}");
    let cases = boot::Runner::new(context, target, selection)?.run(&cases, say)?;
    let mut report = Report { target, cases };
    let bad = report.cases.iter_mut().filter(|case| case.seen.outcome.is_bad());
    let bad: Vec<&mut Judged> = bad.collect();
    if bad.len() <= AGAIN {
        for case in bad {
            let name = case.entry.name();
            let alone = Selection { filter: Some(name.clone()), share: None };
            let cases = boot::Runner::new(context, target, &alone)?.run(&alone.on(target.machine), say)?;
            let second = cases.into_iter().find(|it| std::ptr::eq(it.entry.case, case.entry.case));
            if let Some(second) = second.filter(|second| !second.seen.outcome.is_bad()) {
                say(format!(
                    "{name}: {} at first, then {}",
                    case.seen.outcome.name(),
                    second.seen.outcome.name()
                ));
                *case = second;
            }
        }
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_counts_all_outcomes_and_troubles_are_told() {
        let outcomes = [Outcome::Success, Outcome::Failure, Outcome::Skip, Outcome::Success];
        let cases = fixture::entries().into_iter().zip(outcomes).map(|(entry, outcome)| Judged {
            entry,
            seen: Observed {
                wrong: if outcome == Outcome::Failure {
                    vec!["a: got 1, wanted 2".into()]
                } else {
                    Vec::new()
                },
                ..Observed::bare(outcome, if outcome == Outcome::Skip { "one vcpu" } else { "" })
            },
        });
        let report = Report { target: Target::PARAVANE, cases: cases.collect() };
        assert_eq!(report.to_string(), "conformance: 2 success, 1 failure, 0 error, 1 skip, 0 crash");
        assert!(report.is_bad());
        assert_eq!(
            report.troubles(),
            ["failure call.one/refused", "    a: got 1, wanted 2", "skip call.one/explained: one vcpu"]
        );
        assert_eq!(report.target.to_string(), "paravane (pv-ring3)");
        assert_eq!(report.find(&report.cases[2].entry).map(|case| case.seen.outcome), Some(Outcome::Skip));
    }
}
