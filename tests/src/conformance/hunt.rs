//! Looks for a difference: runs the suite on a hypervisor until a case ends in another way, or sees something else, than it
//! does on a hypervisor without a fault.

use super::boot::Runner;
use super::catalogue::{Entry, Selection};
use super::lines::{self, Outcome};
use super::plan::{self, Job, Shape};
use super::seen::{Observed, Seen, settle};
use super::{Report, Target};
use crate::driver::{Driver, Stdin};
use crate::scenario::Context;
use ::conformance::case::Kind;
use anyhow::{Context as _, Result};
use rustix::process::Signal;
use std::path::Path;
use std::time::{Duration, Instant};

/// Seconds of silence after which a machine is given up, and of a whole run.
const SILENCE: &str = "25";
const TIMEOUT: &str = "300";
/// Longest run of `xtask qemu`, which ends by itself before.
const LIMIT: Duration = Duration::from_secs(330);
/// How often a machine's console is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How long the lines of a side that is lost may take.
const GRACE: Duration = Duration::from_secs(1);
/// How long it may take to stop a machine.
const STOPPING: Duration = Duration::from_secs(20);

/// How a case ends without a fault, and what of what it sees is always the same.
#[derive(Clone, Debug)]
struct Case {
    entry: Entry,
    outcome: Outcome,
    values: Vec<(String, String)>,
}

/// How the suite ends on a hypervisor without a fault.
#[derive(Clone, Debug)]
pub struct Usual {
    target: Target,
    cases: Vec<Case>,
}

/// A difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The case that noticed.
    pub case: String,
    /// What it noticed.
    pub how: String,
}

impl Usual {
    /// Runs the suite so often. Without the fatal cases it is a fraction of the time.
    pub fn observe(
        context: &Context,
        target: Target,
        runs: usize,
        fatal: bool,
        say: &(dyn Fn(String) + Sync),
    ) -> Result<Self> {
        let selection = Selection::default();
        let mut cases = selection.on(target.machine);
        cases.retain(|entry| fatal || entry.case.kind != Kind::Fatal);
        let runner = Runner::new(context, target, &selection)?;
        let report = |_| Ok(Report { target, cases: runner.run(&cases, say)? });
        Ok(Self::of(&(0..runs).map(report).collect::<Result<Vec<_>>>()?))
    }

    /// Of several runs: cases that did not end alike in all of them are not heeded, nor values that were not alike.
    #[must_use]
    pub fn of(reports: &[Report]) -> Self {
        let Some((first, others)) = reports.split_first() else {
            return Self { target: Target::PARAVANE, cases: Vec::new() };
        };
        let cases = first.cases.iter().filter_map(|case| {
            let again: Option<Vec<&Observed>> =
                others.iter().map(|report| report.find(&case.entry).map(|other| &other.seen)).collect();
            let again = again?;
            let steady = again.iter().all(|seen| seen.outcome == case.seen.outcome);
            let same = |value: &&(String, String)| again.iter().all(|seen| seen.values.contains(value));
            let values = case.seen.values.iter().filter(same).cloned().collect();
            let known = steady && !case.seen.outcome.is_bad();
            known.then_some(Case { entry: case.entry, outcome: case.seen.outcome, values })
        });
        Self { target: first.target, cases: cases.collect() }
    }

    /// How many cases are heeded.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    fn find(&self, name: &str) -> Option<&Case> {
        self.cases.iter().find(|case| case.entry.name() == name)
    }

    /// What is not as usual about how a case ended.
    fn differs(&self, entry: &Entry, seen: &Observed) -> Option<Notice> {
        let case = self.find(&entry.name())?;
        let notice = |how: String| Some(Notice { case: entry.name(), how });
        if seen.outcome != case.outcome {
            let why = seen.wrong.first().unwrap_or(&seen.reason);
            return notice(format!("{}: {why}", seen.outcome.name()));
        }
        let missing = case.values.iter().find(|value| !seen.values.contains(value));
        missing.and_then(|(what, text)| notice(format!("{what} was {text}, and is not")))
    }
}

/// What a look for a difference needs.
#[derive(Debug)]
pub struct Hunter<'a> {
    context: &'a Context,
    usual: &'a Usual,
    kernel: String,
    module: String,
}

impl<'a> Hunter<'a> {
    /// Prepares to look, with the images of a context.
    pub fn new(context: &'a Context, usual: &'a Usual) -> Result<Self> {
        let module = context.scratch.join("conformance-module");
        std::fs::write(&module, super::boot::MODULE)
            .with_context(|| format!("writing {}", module.display()))?;
        let path = |path: &Path| path.to_str().map(str::to_owned).context("a path in UTF-8");
        let kernel = path(&context.images.join(super::IMAGE))?;
        Ok(Self { context, usual, kernel, module: path(&module)? })
    }

    /// Runs the cases whose names contain a text, until one is not as usual.
    pub fn hunt(&self, filter: &str) -> Result<Option<Notice>> {
        let filter = (!filter.is_empty()).then(|| filter.to_owned());
        let selection = Selection { filter, share: None };
        let heeded = |entry: &Entry| self.usual.find(&entry.name()).is_some();
        let mut all = selection.on(self.usual.target.machine);
        if !all.iter().any(heeded) {
            return Ok(None);
        }
        all.retain(|entry| heeded(entry) || entry.case.kind != Kind::Fatal);
        for job in plan::plan(&all) {
            if let Some(notice) = self.job(&job, &selection)? {
                return Ok(Some(notice));
            }
        }
        Ok(None)
    }

    /// Runs one machine's cases, in as many boots as it takes.
    fn job(&self, job: &Job, selection: &Selection) -> Result<Option<Notice>> {
        let mut waiting = vec![job.cases.clone()];
        let mut after: Option<Entry> = None;
        while let Some(cases) = waiting.pop() {
            let domains = job.domains(&cases, &selection.words(), after.map(|entry| entry.name()).as_deref());
            let mut options =
                plan::options(self.usual.target, job.shape, &domains, &self.kernel, &self.module);
            options.extend(["--silence", SILENCE, "--timeout", TIMEOUT].map(str::to_owned));
            let options: Vec<&str> = options.iter().map(String::as_str).collect();
            let mut driver = Driver::start(self.context.qemu(&options), Stdin::Null)?;
            if let Some(notice) = self.watch(&mut driver, job.shape)? {
                return Ok(Some(notice));
            }
            let seen = Seen::of(lines::read(driver.console.lines()));
            let settled = settle(job, &cases, &seen, "its machine ended");
            for (at, observed) in &settled.ended {
                if let Some(notice) = self.usual.differs(&cases[*at], observed) {
                    return Ok(Some(notice));
                }
            }
            after = settled.ended.last().map(|(at, _)| cases[*at]).or(after);
            let left: Vec<Entry> = settled.left.into_iter().map(|at| cases[at]).collect();
            if left.len() == cases.len() && job.shape != Shape::Fatal {
                let how = "no case of its machine ran".to_owned();
                return Ok(Some(Notice { case: cases[0].name(), how }));
            }
            match job.shape {
                Shape::Fatal => waiting.extend(left.into_iter().map(|entry| vec![entry])),
                _ if !left.is_empty() => waiting.push(left),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Waits for a machine's end, or stops it at the first case that said something unusual.
    fn watch(&self, driver: &mut Driver, shape: Shape) -> Result<Option<Notice>> {
        let start = Instant::now();
        let mut lost: Option<Instant> = None;
        while start.elapsed() < LIMIT {
            let ended = driver.ended_within(LOOK)?.is_some();
            let seen = Seen::of(lines::read(driver.console.lines()));
            let mut notice =
                seen.told().find_map(|(case, outcome, wrong)| self.unusual(case, outcome, wrong));
            if shape == Shape::Pair && seen.lost_a_side() {
                // The other side waits for ever. What the lost one said last may still come.
                let since = *lost.get_or_insert_with(Instant::now);
                let gone = || Notice { case: "a pair".into(), how: "a side was lost".into() };
                notice = notice.or_else(|| (since.elapsed() > GRACE).then(gone));
            }
            if notice.is_some() && !ended {
                driver.signal(Signal::TERM)?;
                driver.finish(STOPPING)?;
            }
            if ended || notice.is_some() {
                return Ok(notice);
            }
        }
        driver.signal(Signal::KILL)?;
        driver.finish(STOPPING)?;
        Ok(Some(Notice { case: "?".into(), how: format!("its machine ran for more than {LIMIT:?}") }))
    }

    /// What is not as usual about what a domain has said of a case so far.
    fn unusual(&self, name: &str, outcome: Option<Outcome>, wrong: Option<&str>) -> Option<Notice> {
        let case = self.usual.find(name)?;
        let how = match (wrong, outcome) {
            (Some(wrong), _) => wrong.to_owned(),
            (None, Some(outcome)) if outcome.is_bad() && outcome != case.outcome => outcome.name().to_owned(),
            _ => return None,
        };
        Some(Notice { case: name.to_owned(), how })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{Judged, fixture};

    fn report(outcomes: [Outcome; 3], value: &str) -> Report {
        let cases = fixture::entries().into_iter().zip(outcomes).map(|(entry, outcome)| Judged {
            entry,
            seen: Observed {
                values: vec![("code".into(), "0".into()), ("time".into(), value.into())],
                ..Observed::bare(outcome, "")
            },
        });
        Report { target: Target::PARAVANE, cases: cases.collect() }
    }

    #[test]
    fn what_is_steady_is_heeded() {
        use Outcome::{Failure, Skip, Success};
        let usual =
            Usual::of(&[report([Success, Skip, Failure], "1"), report([Success, Skip, Failure], "2")]);
        assert_eq!(usual.len(), 2, "what fails anyhow notices nothing");
        let usual =
            Usual::of(&[report([Success, Skip, Success], "1"), report([Success, Success, Success], "2")]);
        assert_eq!(usual.len(), 2, "what ends now so, now so notices nothing");
        assert!(usual.find(&fixture::entries()[1].name()).is_none());
    }

    #[test]
    fn another_end_or_another_value_is_noticed() {
        use Outcome::{Crash, Success};
        let runs = [report([Success; 3], "1"), report([Success; 3], "2")];
        let usual = Usual::of(&runs);
        let entry = fixture::entries()[0];
        let seen = |outcome, values: &[(&str, &str)]| Observed {
            values: values.iter().map(|(what, text)| ((*what).to_owned(), (*text).to_owned())).collect(),
            ..Observed::bare(outcome, "it fell silent")
        };
        assert_eq!(usual.differs(&entry, &seen(Success, &[("code", "0"), ("time", "3")])), None);
        let notice = usual.differs(&entry, &seen(Success, &[("code", "-22")])).unwrap();
        assert_eq!((notice.case, notice.how), (entry.name(), "code was 0, and is not".into()));
        let notice = usual.differs(&entry, &seen(Crash, &[("code", "0")])).unwrap();
        assert_eq!(notice.how, "crash: it fell silent");
    }
}
