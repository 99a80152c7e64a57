//! The conformance suite on both hypervisors, and held against what real Xen showed it before.

use super::{Context, Outcome};
use crate::conformance::catalogue::Selection;
use crate::conformance::compare::{self, Verdict};
use crate::conformance::lines::Outcome as End;
use crate::conformance::{self, Report, Target, golden};
use crate::source;
use anyhow::{Result, bail, ensure};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Cases that must succeed on Xen and on Paravane, and in ring 1.
const SUCCEED: usize = 400;
const SUCCEED_RING1: usize = 300;

/// Cases that may be skipped on a hypervisor, in percent.
const SKIPPED: usize = 5;

/// The parts of the suite that are run on Xen in turn.
const QUARTERS: usize = 4;

/// All of it on Paravane, in ring 3 as Xen has it.
pub fn paravane(context: &Context) -> Result<Outcome> {
    Ok(Outcome::Passed(good(context, Target::PARAVANE, &Selection::default())?.to_string()))
}

/// What makes sense in ring 1.
pub fn ring1(context: &Context) -> Result<Outcome> {
    Ok(Outcome::Passed(good(context, Target::RING1, &Selection::default())?.to_string()))
}

/// A quarter of it on real Xen, held against the goldens: another one with each commit.
pub fn xen(context: &Context) -> Result<Outcome> {
    let quarter = turn()? % QUARTERS;
    let selection = Selection { filter: None, share: Some((quarter, QUARTERS)) };
    let report = good(context, Target::XEN, &selection)?;
    held(&report)?;
    Ok(Outcome::Passed(format!("quarter {quarter} of 0 to {}; {report}", QUARTERS - 1)))
}

/// All of it on both, every difference explained, and enough of it.
pub fn diff(context: &Context) -> Result<Outcome> {
    let whole = Selection::default();
    let [xen, paravane, ring1] =
        [Target::XEN, Target::PARAVANE, Target::RING1].map(|target| good(context, target, &whole));
    let (xen, paravane, ring1) = (xen?, paravane?, ring1?);
    held(&xen)?;
    let comparison = compare::compare(&xen, &paravane);
    let faults = comparison.faults();
    ensure!(faults.is_empty(), "{} to settle:\n{}", faults.len(), faults.join("\n"));
    enough(&xen, &paravane, &ring1)?;
    let explained = comparison.differences.iter().filter(|it| matches!(it.verdict, Verdict::Explained(_)));
    Ok(Outcome::Passed(format!(
        "{} values are the same, {} differ and are explained; {} on both, {} in ring 1",
        comparison.same,
        explained.count(),
        on_both(&xen, &paravane),
        ring1.count(End::Success)
    )))
}

/// Runs it; no case may fail, err or crash.
fn good(context: &Context, target: Target, selection: &Selection) -> Result<Report> {
    let report = conformance::run(context, target, selection, &|text| eprintln!("  {text}"))?;
    if report.is_bad() {
        bail!("on {target}:\n{}\n{report}", report.troubles().join("\n"));
    }
    Ok(report)
}

/// What ran on Xen shows what it showed before.
fn held(report: &Report) -> Result<()> {
    let goldens = golden::read(&source::root().join(golden::FOLDER))?;
    let lines = golden::differences(&goldens, report);
    ensure!(lines.is_empty(), "{} differences from the goldens:\n{}", lines.len(), lines.join("\n"));
    Ok(())
}

/// How many cases succeed on both.
fn on_both(xen: &Report, paravane: &Report) -> usize {
    let success =
        |report: &Report, entry| report.find(entry).is_some_and(|case| case.seen.outcome == End::Success);
    let cases = xen.cases.iter().map(|case| &case.entry);
    cases.filter(|entry| success(xen, entry) && success(paravane, entry)).count()
}

/// Whether the suite is as large as it says, and skips little.
fn enough(xen: &Report, paravane: &Report, ring1: &Report) -> Result<()> {
    let both = on_both(xen, paravane);
    ensure!(both >= SUCCEED, "{both} cases succeed on both, not {SUCCEED}");
    let inner = ring1.count(End::Success);
    ensure!(inner >= SUCCEED_RING1, "{inner} cases succeed in ring 1, not {SUCCEED_RING1}");
    let skipped = |report: &Report| {
        let cases = report.cases.iter().filter(|case| case.seen.outcome == End::Skip);
        cases.map(|case| case.entry.name()).collect::<Vec<_>>()
    };
    let (there, here) = (skipped(xen), skipped(paravane));
    for (report, skipped) in [(xen, &there), (paravane, &here)] {
        let (skips, all) = (skipped.len(), report.cases.len());
        ensure!(skips * 100 <= all * SKIPPED, "{skips} of {all} cases are skipped on {}", report.target);
    }
    let neither: Vec<&String> = there.iter().filter(|name| here.contains(name)).collect();
    ensure!(neither.is_empty(), "skipped on both: {neither:?}");
    Ok(())
}

/// A number that grows with every commit; where there is no history, with every day.
pub(super) fn turn() -> Result<usize> {
    let count =
        Command::new("git").args(["rev-list", "--count", "HEAD"]).current_dir(source::root()).output();
    let count = count.ok().filter(|done| done.status.success());
    if let Some(count) = count.and_then(|done| String::from_utf8(done.stdout).ok()?.trim().parse().ok()) {
        return Ok(count);
    }
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok(usize::try_from(seconds / 86_400)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::catalogue::Entry;
    use crate::conformance::seen::Observed;
    use crate::conformance::{Judged, fixture};

    /// These cases, the first ones skipped and the rest good.
    fn report(target: Target, cases: &[Entry], skipped: usize) -> Report {
        let end = |at| if at < skipped { End::Skip } else { End::Success };
        let cases = cases.iter().enumerate();
        let cases = cases.map(|(at, entry)| Judged { entry: *entry, seen: Observed::bare(end(at), "") });
        Report { target, cases: cases.collect() }
    }

    #[test]
    fn too_few_and_too_many_skipped_are_refused() {
        let cases = fixture::many(SUCCEED * 11 / 10);
        let judge = |there: (usize, usize), here: (usize, usize), inner: usize| {
            let xen = report(Target::XEN, &cases[..there.0], there.1);
            let paravane = report(Target::PARAVANE, &cases[..here.0], here.1);
            let ring1 = report(Target::RING1, &cases[..inner], 0);
            enough(&xen, &paravane, &ring1).map_err(|error| error.to_string())
        };
        judge((SUCCEED, 0), (SUCCEED, 0), SUCCEED_RING1).unwrap();
        judge((SUCCEED + 20, 20), (SUCCEED + 20, 0), SUCCEED_RING1).unwrap();
        for (there, here, inner, why) in [
            ((SUCCEED - 1, 0), (SUCCEED, 0), SUCCEED_RING1, "399 cases succeed on both"),
            ((SUCCEED, 0), (SUCCEED, 1), SUCCEED_RING1, "399 cases succeed on both"),
            ((SUCCEED, 0), (SUCCEED, 0), SUCCEED_RING1 - 1, "299 cases succeed in ring 1"),
            ((SUCCEED + 30, 30), (SUCCEED + 30, 0), SUCCEED_RING1, "30 of 430 cases are skipped on xen"),
            ((SUCCEED + 30, 0), (SUCCEED + 30, 30), SUCCEED_RING1, "30 of 430 cases are skipped on paravane"),
            ((SUCCEED + 20, 5), (SUCCEED + 20, 2), SUCCEED_RING1, "skipped on both: [\"many/case-0\""),
        ] {
            let error = judge(there, here, inner).unwrap_err();
            assert!(error.contains(why), "{why}: {error}");
        }
    }

    #[test]
    fn turns_follow_the_commits() {
        assert!(turn().unwrap() > 0);
    }
}
