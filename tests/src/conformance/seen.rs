//! From what a machine printed to how each case ended.

use super::catalogue::Entry;
use super::lines::{Event, Outcome, Said};
use super::plan::{Job, Shape};
use std::collections::BTreeMap;

/// How a case ended and what it saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where that is known.
    pub reason: String,
    /// What it saw, in order: what it looked at, and what was there.
    pub values: Vec<(String, String)>,
    /// What it saw and should not have.
    pub wrong: Vec<String>,
}

impl Observed {
    /// A case of which nothing else is known.
    #[must_use]
    pub fn bare(outcome: Outcome, reason: impl Into<String>) -> Self {
        Self { outcome, reason: reason.into(), values: Vec::new(), wrong: Vec::new() }
    }
}

/// What one domain said of one case.
#[derive(Clone, Debug, Default)]
struct Side {
    ended: Option<(Outcome, String)>,
    values: Vec<(String, String)>,
    wrong: Vec<String>,
}

/// All that was said in one boot.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// By case and domain; domain 0 is that of lines without a mark.
    sides: BTreeMap<(String, u16), Side>,
    /// Domains that have run all they were asked to.
    through: Vec<u16>,
    /// Domains that were crashed, and those that ended themselves so.
    crashed: Vec<u16>,
    gave_up: Vec<u16>,
    /// What kernels said when they gave up.
    panics: BTreeMap<u16, String>,
}

impl Seen {
    /// Takes the events of a boot.
    #[must_use]
    pub fn of(said: Vec<Said>) -> Self {
        let mut seen = Self::default();
        for Said { domain, event } in said {
            let domain = domain.unwrap_or(0);
            match event {
                Event::Begin(case) => {
                    seen.sides.insert((case, domain), Side::default());
                }
                Event::Value { case, what, text } => seen.side(case, domain).values.push((what, text)),
                Event::Wrong { case, text } => seen.side(case, domain).wrong.push(text),
                Event::Ended { case, outcome, reason } => {
                    seen.side(case, domain).ended = Some((outcome, reason))
                }
                Event::End(_) => seen.through.push(domain),
                Event::Panic(text) => {
                    seen.panics.entry(domain).or_insert(text);
                }
                Event::Crashed(number) => seen.crashed.push(number),
                Event::GaveUp(number) => seen.gave_up.push(number),
            }
        }
        seen
    }

    fn side(&mut self, case: String, domain: u16) -> &mut Side {
        self.sides.entry((case, domain)).or_default()
    }

    /// Whether nothing of the suite was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sides.is_empty()
    }

    /// The case's sides: of these domains, or the only one there is.
    fn sides_of(&self, name: &str, domains: &[u16]) -> Vec<Option<&Side>> {
        if domains.is_empty() {
            let mut own = self.sides.range((name.to_owned(), 0)..=(name.to_owned(), u16::MAX));
            return vec![own.next().map(|(_, side)| side)];
        }
        domains.iter().map(|domain| self.sides.get(&(name.to_owned(), *domain))).collect()
    }

    /// What a kernel said when it gave up: one of these, or any where there are none.
    fn panic_of(&self, domains: &[u16]) -> Option<&str> {
        let mut all = self.panics.iter().filter(|(domain, _)| domains.is_empty() || domains.contains(domain));
        all.next().map(|(_, text)| text.as_str())
    }

    /// How a case ended that is run with others in one domain or in a pair; `None` when it has not begun. `cause` is why
    /// the machine ended.
    fn in_turn(&self, name: &str, domains: &[u16], cause: &str) -> Option<Observed> {
        let sides = self.sides_of(name, domains);
        if sides.iter().all(Option::is_none) {
            return None;
        }
        let mut all = Observed::bare(Outcome::Success, "");
        for (at, side) in sides.iter().enumerate() {
            let silent = Side::default();
            let side = side.unwrap_or(&silent);
            all.values.extend(side.values.iter().cloned());
            all.wrong.extend(side.wrong.iter().cloned());
            let (outcome, reason) = match (&side.ended, self.panic_of(domains)) {
                (Some((outcome, reason)), _) => (*outcome, reason.clone()),
                (None, Some(panic)) => (Outcome::Crash, format!("the kernel gave up: {panic}")),
                (None, None) => (Outcome::Crash, cause.to_owned()),
            };
            if weight(outcome) > weight(all.outcome) {
                let named = |word: &str| format!("{word}: {reason}");
                all.reason = if sides.len() > 1 { named(["left", "right"][at.min(1)]) } else { reason };
                all.outcome = outcome;
            }
        }
        if all.outcome == Outcome::Success && !all.wrong.is_empty() {
            all.outcome = Outcome::Failure;
            all.reason = "it says success, and what was wrong".into();
        }
        Some(all)
    }

    /// How a fatal case ended in its own domain; `None` when the domain was not crashed and nothing else ended it.
    fn fatal(&self, name: &str, domain: u16) -> Option<Observed> {
        let side = self.sides_of(name, &[]).remove(0)?;
        let values = side.values.clone();
        let ended = |outcome, reason: String| {
            Some(Observed { outcome, reason, values: values.clone(), wrong: side.wrong.clone() })
        };
        if let Some((outcome, reason)) = &side.ended {
            return ended(*outcome, reason.clone());
        }
        // A line without a mark is of the one domain there is.
        if let Some(panic) = self.panics.get(&domain).or_else(|| self.panics.get(&0)) {
            return ended(Outcome::Error, format!("the kernel gave up: {panic}"));
        }
        if self.gave_up.contains(&domain) {
            return ended(Outcome::Error, "the kernel gave up".into());
        }
        if !self.crashed.contains(&domain) {
            return None;
        }
        if side.wrong.is_empty() {
            ended(Outcome::Success, String::new())
        } else {
            ended(Outcome::Failure, "something was wrong before it was crashed".into())
        }
    }

    /// What each domain has said of each case: how it ended, if it has, and what was wrong first.
    pub fn told(&self) -> impl Iterator<Item = (&str, Option<Outcome>, Option<&str>)> {
        self.sides.iter().map(|((case, _), side)| {
            let outcome = side.ended.as_ref().map(|(outcome, _)| *outcome);
            (case.as_str(), outcome, side.wrong.first().map(String::as_str))
        })
    }

    /// Whether a side of a pair is gone, so that the other waits in vain.
    #[must_use]
    pub fn lost_a_side(&self) -> bool {
        !self.crashed.is_empty() || !self.gave_up.is_empty() || !self.panics.is_empty()
    }
}

/// The worse of two outcomes is the heavier one.
const fn weight(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Success => 0,
        Outcome::Skip => 1,
        Outcome::Error => 2,
        Outcome::Failure => 3,
        Outcome::Crash => 4,
    }
}

/// What a boot has settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// How cases ended, by their places among those that were to be run.
    pub ended: Vec<(usize, Observed)>,
    /// The places of those that are to be run again.
    pub left: Vec<usize>,
}

/// Says how the cases of a boot ended, at least one of them. `cause` is why the machine ended.
#[must_use]
pub fn settle(job: &Job, cases: &[Entry], seen: &Seen, cause: &str) -> Settled {
    if job.shape == Shape::Fatal { fatal(cases, seen, cause) } else { in_turn(job, cases, seen, cause) }
}

fn in_turn(job: &Job, cases: &[Entry], seen: &Seen, cause: &str) -> Settled {
    let domains = job.sides();
    let through = match domains {
        [] => !seen.through.is_empty(),
        both => both.iter().all(|domain| seen.through.contains(domain)),
    };
    let mut ended = Vec::new();
    for (at, entry) in cases.iter().enumerate() {
        let observed = match seen.in_turn(&entry.name(), domains, cause) {
            Some(observed) => observed,
            None if through => Observed::bare(Outcome::Error, "the kernel did not run it"),
            None if at == 0 => Observed::bare(Outcome::Crash, format!("before it began: {cause}")),
            None => break,
        };
        let crash = observed.outcome == Outcome::Crash;
        ended.push((at, observed));
        if crash {
            break;
        }
    }
    let left = (ended.len()..cases.len()).collect();
    Settled { ended, left }
}

fn fatal(cases: &[Entry], seen: &Seen, cause: &str) -> Settled {
    let mut settled = Settled { ended: Vec::new(), left: Vec::new() };
    for ((at, entry), domain) in cases.iter().enumerate().zip(1..) {
        match seen.fatal(&entry.name(), domain) {
            Some(observed) => settled.ended.push((at, observed)),
            // What took the machine down was one of several; the next time each has a machine of its own.
            None if cases.len() > 1 => settled.left.push(at),
            None => settled.ended.push((at, Observed::bare(Outcome::Crash, cause))),
        }
    }
    settled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::lines::read;
    use crate::conformance::{fixture, plan};

    fn settled(shape: Shape, text: &str) -> Settled {
        let jobs = plan::plan(&fixture::entries());
        let job = jobs.iter().find(|job| job.shape == shape).unwrap();
        let lines: Vec<String> = text.lines().map(|line| line.trim_start().to_owned()).collect();
        settle(job, &job.cases, &Seen::of(read(&lines)), "the machine fell silent")
    }

    fn outcomes(settled: &Settled) -> Vec<(usize, Outcome, &str)> {
        settled.ended.iter().map(|(at, seen)| (*at, seen.outcome, seen.reason.as_str())).collect()
    }

    #[test]
    fn cases_of_one_domain_end_as_they_say() {
        let all = settled(
            Shape::DomU,
            "conformance: begin call.one/good
             conformance: value call.one/good result = 0
             conformance: success call.one/good
             conformance: begin call.one/refused
             conformance: wrong call.one/refused result: got 0, wanted -22
             conformance: failure call.one/refused: 1 of 4 values
             conformance: begin call.one/explained
             conformance: skip call.one/explained: one vcpu
             conformance: end 3",
        );
        assert_eq!(
            outcomes(&all),
            [
                (0, Outcome::Success, ""),
                (1, Outcome::Failure, "1 of 4 values"),
                (2, Outcome::Skip, "one vcpu")
            ]
        );
        assert_eq!(all.ended[0].1.values, [("result".to_owned(), "0".to_owned())]);
        assert_eq!(all.ended[1].1.wrong, ["result: got 0, wanted -22"]);
        assert!(all.left.is_empty());
    }

    #[test]
    fn silence_is_a_crash_and_the_rest_is_run_again() {
        let one =
            settled(Shape::DomU, "conformance: begin call.one/good\nconformance: value call.one/good a = 1");
        assert_eq!(outcomes(&one), [(0, Outcome::Crash, "the machine fell silent")]);
        assert_eq!(one.ended[0].1.values.len(), 1);
        assert_eq!(one.left, [1, 2]);
        let none = settled(Shape::DomU, "(PV) booting");
        assert_eq!(outcomes(&none), [(0, Outcome::Crash, "before it began: the machine fell silent")]);
        let between =
            settled(Shape::DomU, "conformance: begin call.one/good\nconformance: success call.one/good");
        assert_eq!(outcomes(&between), [(0, Outcome::Success, "")]);
        assert_eq!(between.left, [1, 2]);
        let panic = settled(Shape::DomU, "conformance: begin call.one/good\nconformance: panic: x.rs");
        assert_eq!(outcomes(&panic), [(0, Outcome::Crash, "the kernel gave up: x.rs")]);
    }

    #[test]
    fn what_a_kernel_passes_over_and_what_it_contradicts_is_no_success() {
        let all = settled(
            Shape::DomU,
            "conformance: begin call.one/good
             conformance: wrong call.one/good a: got 1, wanted 2
             conformance: success call.one/good
             conformance: end 1",
        );
        let outcomes: Vec<Outcome> = all.ended.iter().map(|(_, seen)| seen.outcome).collect();
        assert_eq!(outcomes, [Outcome::Failure, Outcome::Error, Outcome::Error]);
    }

    #[test]
    fn both_sides_of_a_pair_must_succeed() {
        let text = "(d1) conformance: begin call.one/shared
             (d2) conformance: begin call.one/shared
             (d1) conformance: value call.one/shared left.port = 3
             (d1) conformance: success call.one/shared
             (d2) conformance: value call.one/shared right.port = 4
             (d2) conformance: success call.one/shared
             (d1) conformance: begin call.one/shared-too
             (d2) conformance: begin call.one/shared-too
             (d1) conformance: success call.one/shared-too\n";
        let both =
            settled(Shape::Pair, &format!("{text}(d2) conformance: failure call.one/shared-too: no event"));
        assert_eq!(outcomes(&both), [(0, Outcome::Success, ""), (1, Outcome::Failure, "right: no event")]);
        let values: Vec<&str> = both.ended[0].1.values.iter().map(|(what, _)| what.as_str()).collect();
        assert_eq!(values, ["left.port", "right.port"]);
        let one = settled(Shape::Pair, text);
        assert_eq!(outcomes(&one)[1], (1, Outcome::Crash, "right: the machine fell silent"));
    }

    #[test]
    fn a_fatal_case_succeeds_when_its_domain_is_crashed() {
        let good = "(d1) conformance: begin call.one/dies\n(PV) d1v0 crashed: iret context\n";
        let both = settled(
            Shape::Fatal,
            &format!("{good}(d2) conformance: begin topic/dies-too\ntoolstack: domain 2 fatal2 ended: crash"),
        );
        assert_eq!(outcomes(&both), [(0, Outcome::Success, ""), (1, Outcome::Success, "")]);
        for (text, expected) in [
            ("conformance: failure topic/dies-too: it lives", (1, Outcome::Failure, "it lives")),
            ("conformance: panic: x.rs", (1, Outcome::Error, "the kernel gave up: x.rs")),
        ] {
            let text =
                format!("{good}(d2) conformance: begin topic/dies-too\n(d2) {text}\n(PV) d2v0 crashed: x");
            assert_eq!(outcomes(&settled(Shape::Fatal, &text))[1], expected);
        }
        let itself =
            format!("{good}(d2) conformance: begin topic/dies-too\n(PV) d2 says that it has crashed");
        assert_eq!(outcomes(&settled(Shape::Fatal, &itself))[1], (1, Outcome::Error, "the kernel gave up"));
        let unknown = settled(Shape::Fatal, &format!("{good}(d2) conformance: begin topic/dies-too"));
        assert_eq!(unknown.left, [1]);
    }

    #[test]
    fn a_fatal_case_that_is_alone_is_settled_whatever_happens() {
        let mut job = plan::plan(&fixture::entries()).remove(3);
        job.cases.truncate(1);
        let settled = settle(&job, &job.cases, &Seen::default(), "the hypervisor panicked");
        assert_eq!(outcomes(&settled), [(0, Outcome::Crash, "the hypervisor panicked")]);
    }
}
