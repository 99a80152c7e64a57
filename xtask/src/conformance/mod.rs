//! `cargo xtask conformance`: runs the conformance suite on a hypervisor, or compares two, and writes the files for others.

mod image;
mod json;
mod list;
mod show;

use crate::project::Project;
use crate::setup::{self, Bring, fixtures};
use crate::{build, cli, run, stop};
use anyhow::{Context, Result};
use paravane_tests::conformance::catalogue::{self, Selection};
use paravane_tests::conformance::{self, Machine, Report, Target, compare, golden};
use paravane_tests::oracle::Hypervisor;
use paravane_tests::scenario;
use paravane_tests::status::Status;

/// Parts that `--quarter` numbers.
const QUARTERS: usize = 4;

/// Runs `conformance`.
pub fn command(project: &Project, options: &cli::Conformance) -> Result<Status> {
    let (target, selection) = (target(options)?, selection(options)?);
    if options.list {
        return list::list(project, target, &selection, options.missing);
    }
    if selection.on(target.machine).is_empty() {
        return Err(stop::usage("no case is chosen; `cargo xtask conformance --list` lists them"));
    }
    let bring = Bring::from_options(&options.setup);
    if options.no_build {
        build::made(project)?;
    } else {
        build::all(project, bring)?;
    }
    if let Some(folder) = &options.image {
        return image::write(project, folder.as_deref());
    }
    let xen = options.diff || target.hypervisor == Hypervisor::Xen;
    let context = context(project, bring, xen)?;
    if options.diff {
        return diff(&context, &selection, options.verbose);
    }
    let report = report(&context, target, &selection)?;
    if options.verbose {
        show::values(&report);
        println!("{}", show::table(&report));
    }
    report.troubles().iter().for_each(|line| println!("{line}"));
    if let Some(path) = &options.json {
        std::fs::write(path, json::of(&report)?).with_context(|| format!("writing {}", path.display()))?;
    }
    let held = target.hypervisor != Hypervisor::Xen || goldens(project, &report, options.bless)?;
    println!("{report}");
    Ok(if held && !report.is_bad() { Status::Good } else { Status::CheckFailed })
}

/// What the options say to run on.
fn target(options: &cli::Conformance) -> Result<Target> {
    let target = match (options.hypervisor.as_str(), options.machine.as_str()) {
        ("paravane", "pv-ring3") => Target::PARAVANE,
        ("paravane", "pv-ring1") if !options.diff => Target::RING1,
        ("xen", "pv-ring3") => Target::XEN,
        ("paravane" | "xen", machine) => {
            let allowed = if machine == Machine::PvRing1.name() { "pv-ring3" } else { "pv-ring1, pv-ring3" };
            return Err(stop::usage(format!("--machine {machine} is not available; allowed: {allowed}")));
        }
        (other, _) => {
            return Err(stop::usage(format!(
                "--hypervisor {other} is not available; allowed: paravane, xen"
            )));
        }
    };
    if options.bless && target.hypervisor != Hypervisor::Xen {
        return Err(stop::usage("--bless writes down what real Xen shows; allowed with: --hypervisor xen"));
    }
    Ok(target)
}

/// The cases that the options choose.
fn selection(options: &cli::Conformance) -> Result<Selection> {
    let share = options.share.or(options.quarter.map(|quarter| (quarter, QUARTERS)));
    let selection = Selection { filter: options.filter.clone(), share };
    selection.check().map_err(stop::usage)?;
    Ok(selection)
}

/// What runs need; real Xen only where it is booted.
fn context(project: &Project, bring: Bring, xen: bool) -> Result<scenario::Context> {
    {
        let _lock = setup::lock(project)?;
        setup::qemu::need(project, bring)?;
        if xen {
            fixtures::xen(project, bring)?;
        }
    }
    let scratch = project.kernel_target().join("scratch");
    std::fs::create_dir_all(&scratch)?;
    let xtask = std::env::current_exe().context("finding this program")?;
    Ok(scenario::Context { xtask, images: build::images(project), scratch })
}

fn report(context: &scenario::Context, target: Target, selection: &Selection) -> Result<Report> {
    conformance::run(context, target, selection, &|text| run::say(text))
}

/// Holds a run on Xen against what it showed before, or writes down what it shows now. Whether all is as it was.
fn goldens(project: &Project, report: &Report, bless: bool) -> Result<bool> {
    let folder = project.root.join(golden::FOLDER);
    if bless {
        let files = golden::bless(&folder, report, &catalogue::all())?;
        files.iter().for_each(|path| run::say(format_args!("wrote {}", path.display())));
        return Ok(true);
    }
    let lines = golden::differences(&golden::read(&folder)?, report);
    lines.iter().for_each(|line| println!("not as before: {line}"));
    Ok(lines.is_empty())
}

/// Runs on both and shows what is not the same.
fn diff(context: &scenario::Context, selection: &Selection, verbose: bool) -> Result<Status> {
    let xen = report(context, Target::XEN, selection)?;
    let paravane = report(context, Target::PARAVANE, selection)?;
    let comparison = compare::compare(&xen, &paravane);
    for report in [&xen, &paravane] {
        if verbose {
            println!("{}", show::table(report));
        }
        report.troubles().iter().for_each(|line| println!("{}: {line}", report.target));
    }
    let explained = |it: &&compare::Difference| it.verdict != compare::Verdict::Unexplained;
    comparison.differences.iter().filter(explained).for_each(|it| println!("explained: {it}"));
    let faults = comparison.faults();
    faults.iter().for_each(|line| println!("{line}"));
    for report in [&xen, &paravane] {
        println!("{}: {report}", report.target);
    }
    println!(
        "{} values are the same, {} differ and are explained, {} unexplained, {} explained without a difference",
        comparison.same,
        comparison.differences.iter().filter(explained).count(),
        comparison.unexplained().count(),
        comparison.stale.len()
    );
    Ok(if faults.is_empty() { Status::Good } else { Status::CheckFailed })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn options(words: &str) -> cli::Conformance {
        let words = ["cargo xtask", "conformance"].into_iter().chain(words.split_whitespace());
        match cli::Cli::try_parse_from(words).unwrap().command {
            cli::Command::Conformance(options) => *options,
            _ => unreachable!("the word is conformance"),
        }
    }

    #[test]
    fn what_cannot_be_names_what_can() {
        for (words, allowed) in [
            ("--hypervisor kvm", "paravane, xen"),
            ("--machine svm", "pv-ring1, pv-ring3"),
            ("--hypervisor xen --machine pv-ring1", "pv-ring3"),
            ("--diff --machine pv-ring1", "pv-ring3"),
            ("--bless", "--hypervisor xen"),
        ] {
            let error = target(&options(words)).unwrap_err();
            assert_eq!(stop::status_of(&error), Status::Usage, "{words}");
            assert!(error.to_string().contains(allowed), "{words}: {error}");
        }
        assert_eq!(target(&options("")).unwrap(), Target::PARAVANE);
        assert_eq!(target(&options("--machine pv-ring1")).unwrap(), Target::RING1);
        assert_eq!(target(&options("--hypervisor xen --bless")).unwrap(), Target::XEN);
        for words in
            ["--diff --hypervisor xen", "--missing", "--share 4/4", "--share 1", "--quarter 1 --share 0/2"]
        {
            let words = ["cargo xtask", "conformance"].into_iter().chain(words.split_whitespace());
            assert!(cli::Cli::try_parse_from(words).is_err());
        }
    }

    #[test]
    fn cases_are_chosen() {
        let chosen = |words| selection(&options(words)).unwrap();
        assert_eq!(chosen("--quarter 3"), Selection { filter: None, share: Some((3, 4)) });
        assert_eq!(
            chosen("--share 1/2 --filter a/b"),
            Selection { filter: Some("a/b".into()), share: Some((1, 2)) }
        );
        let error = selection(&options("--quarter 4")).unwrap_err();
        assert_eq!(stop::status_of(&error), Status::Usage);
        assert!(error.to_string().contains("0/4 to 3/4"), "{error}");
    }
}
