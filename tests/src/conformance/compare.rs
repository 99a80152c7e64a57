//! What the cases saw on Xen and on Paravane, side by side.

use super::catalogue::Entry;
use super::lines::Outcome;
use super::{Judged, Report};
use ::conformance::case::{Explained, because};
use std::fmt;

/// Why two hypervisors showed a case different things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The case explains it by configuration or privilege.
    Explained(&'static str),
    /// One of them lacks what the case needs, as the case found out.
    Skipped(String),
    /// Nothing says why.
    Unexplained,
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The case's full name.
    pub case: String,
    /// What was looked at, or `outcome`.
    pub what: String,
    /// On Xen; `None` when it was not seen there.
    pub xen: Option<String>,
    /// On Paravane.
    pub paravane: Option<String>,
    /// What that comes to.
    pub verdict: Verdict,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "not seen".to_owned());
        let Self { case, what, .. } = self;
        write!(f, "{case} {what}: Xen {}; Paravane {}", text(&self.xen), text(&self.paravane))?;
        match &self.verdict {
            Verdict::Explained(reason) => write!(f, " ({reason})"),
            Verdict::Skipped(reason) => write!(f, " (skipped: {reason})"),
            Verdict::Unexplained => Ok(()),
        }
    }
}

/// All differences between two runs.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Values that were the same.
    pub same: usize,
    /// Those that were not, and outcomes.
    pub differences: Vec<Difference>,
    /// Explanations of differences that are none: the case, and what is explained.
    pub stale: Vec<String>,
}

impl Comparison {
    /// The differences that nothing explains.
    pub fn unexplained(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(|it| it.verdict == Verdict::Unexplained)
    }

    /// What has to be settled, a line each.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let differences = self.unexplained().map(|it| format!("unexplained: {it}"));
        differences.chain(self.stale.iter().map(|it| format!("explained, but the same: {it}"))).collect()
    }
}

/// The name of a case's outcome among its values.
const OUTCOME: &str = "outcome";

/// Compares the cases that ran on both.
#[must_use]
pub fn compare(xen: &Report, paravane: &Report) -> Comparison {
    let mut comparison = Comparison::default();
    for there in &xen.cases {
        if let Some(here) = paravane.find(&there.entry) {
            compare_case(&mut comparison, there, here);
        }
    }
    comparison
}

fn compare_case(comparison: &mut Comparison, xen: &Judged, paravane: &Judged) {
    let entry = &xen.entry;
    let outcomes = [xen, paravane].map(|judged| judged.seen.outcome);
    let values = [xen, paravane].map(|judged| judged.seen.values.as_slice());
    let skipped = [xen, paravane].into_iter().find(|judged| judged.seen.outcome == Outcome::Skip);
    let mut explained = vec![false; entry.case.explained.len()];
    let mut differ = |what: &str, both: [Option<String>; 2]| {
        let place = entry.case.explained.iter().position(|explained| explained.covers(what));
        if let Some(place) = place {
            explained[place] = true;
        }
        let verdict = match (place, skipped) {
            (Some(place), _) => Verdict::Explained(entry.case.explained[place].reason),
            (None, Some(judged)) if !outcomes.iter().any(|outcome| outcome.is_bad()) => {
                Verdict::Skipped(judged.seen.reason.clone())
            }
            _ => Verdict::Unexplained,
        };
        let [xen, paravane] = both;
        let (case, what) = (entry.name(), what.to_owned());
        comparison.differences.push(Difference { case, what, xen, paravane, verdict });
    };
    if outcomes[0] != outcomes[1] {
        differ(OUTCOME, outcomes.map(|outcome| Some(outcome.name().to_owned())));
    }
    // Of a case that was skipped on one, the other's values say nothing.
    if skipped.is_some() {
        return;
    }
    for (what, both) in paired(values) {
        if both[0] == both[1] {
            comparison.same += 1;
        } else {
            differ(what, both.map(|value| value.map(str::to_owned)));
        }
    }
    comparison.stale.extend(stale(entry, &explained));
}

/// Values by name, in the order of Xen's, then those that only the other has. Of several of one name the first is compared
/// with the first, and so on.
fn paired<'a>(values: [&'a [(String, String)]; 2]) -> Vec<(&'a str, [Option<&'a str>; 2])> {
    let nth = |values: &'a [(String, String)], at: usize| {
        let what = values[at].0.as_str();
        (what, values[..at].iter().filter(|(other, _)| other == what).count())
    };
    let find = |values: &'a [(String, String)], (what, nth): (&str, usize)| {
        values.iter().filter(|(other, _)| other == what).nth(nth).map(|(_, text)| text.as_str())
    };
    let [xen, paravane] = values;
    let mut pairs = Vec::new();
    for (at, (what, text)) in xen.iter().enumerate() {
        pairs.push((what.as_str(), [Some(text.as_str()), find(paravane, nth(xen, at))]));
    }
    for (at, (what, text)) in paravane.iter().enumerate() {
        if find(xen, nth(paravane, at)).is_none() {
            pairs.push((what.as_str(), [None, Some(text.as_str())]));
        }
    }
    pairs
}

/// The explanations of a case that nothing needed. What is the emulator's comes and goes with its version.
fn stale(entry: &Entry, needed: &[bool]) -> Vec<String> {
    let stale =
        |(explained, needed): &(&Explained, &bool)| !**needed && explained.reason != because::EMULATOR;
    let all = entry.case.explained.iter().zip(needed).filter(stale);
    all.map(|(explained, _)| format!("{} {}", entry.name(), explained.value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::seen::Observed;
    use crate::conformance::{Target, fixture};

    /// The fixture's case with explanations, as it ended on two hypervisors.
    fn of(xen: (Outcome, &[(&str, &str)]), paravane: (Outcome, &[(&str, &str)])) -> Comparison {
        let entry = fixture::entries().into_iter().find(|entry| entry.case.name == "explained").unwrap();
        let report = |target, (outcome, values): (Outcome, &[(&str, &str)])| {
            let values = values.iter().map(|(what, text)| ((*what).to_owned(), (*text).to_owned())).collect();
            let seen = Observed { values, ..Observed::bare(outcome, "no AVX") };
            Report { target, cases: vec![Judged { entry, seen }] }
        };
        compare(&report(Target::XEN, xen), &report(Target::PARAVANE, paravane))
    }

    const XEN: &[(&str, &str)] =
        &[("flags", "1"), ("size", "2"), ("leaf.1", "3"), ("leaf.2", "4"), ("gate", "5")];

    #[test]
    fn differences_need_an_explanation_and_explanations_a_difference() {
        let paravane = [("flags", "1"), ("size", "3"), ("leaf.1", "3"), ("leaf.2", "5"), ("gate", "5")];
        let good = of((Outcome::Success, XEN), (Outcome::Success, &paravane));
        assert_eq!(good.faults(), [""; 0]);
        assert_eq!((good.same, good.differences.len()), (3, 2));
        assert!(good.differences[0].to_string().ends_with(&format!("({})", because::BUILD)));
        let paravane =
            [("flags", "2"), ("size", "2"), ("leaf.1", "4"), ("leaf.2", "4"), ("more", "6"), ("gate", "5")];
        let bad = of((Outcome::Success, XEN), (Outcome::Success, &paravane));
        assert_eq!(
            bad.faults(),
            [
                "unexplained: call.one/explained flags: Xen 1; Paravane 2",
                "unexplained: call.one/explained more: Xen not seen; Paravane 6",
                "explained, but the same: call.one/explained size",
            ]
        );
    }

    #[test]
    fn values_of_one_name_are_compared_in_their_order() {
        let xen = [("a", "1"), ("a", "2"), ("size", "1")];
        let paravane = [("a", "1"), ("size", "2"), ("a", "3"), ("leaf.x", "1")];
        let all = of((Outcome::Success, &xen), (Outcome::Success, &paravane));
        let unexplained: Vec<String> = all.unexplained().map(ToString::to_string).collect();
        assert_eq!(unexplained, ["call.one/explained a: Xen 2; Paravane 3"]);
    }

    #[test]
    fn outcomes_are_compared_too_and_a_skip_explains_itself() {
        let crash = of((Outcome::Success, &[]), (Outcome::Crash, &[]));
        assert_eq!(crash.unexplained().count(), 1);
        assert!(crash.faults()[0].ends_with("outcome: Xen success; Paravane crash"), "{:?}", crash.faults());
        let skip = of((Outcome::Success, XEN), (Outcome::Skip, &[]));
        assert_eq!((skip.faults().len(), skip.differences.len()), (0, 1));
        assert!(skip.differences[0].to_string().ends_with("Paravane skip (skipped: no AVX)"));
        assert_eq!(of((Outcome::Failure, XEN), (Outcome::Skip, &[])).unexplained().count(), 1);
    }
}
