//! `cargo xtask test`: everything that can be checked, counted in one sum.

mod fuzz;
pub mod mutants;
mod reproduce;
mod steps;
mod tally;

use crate::bare;
use crate::cli;
use crate::project::Project;
use crate::setup::{self, Bring, fixtures};
use crate::{build, run, stop};
use anyhow::{Context, Result, bail};
use paravane_tests::scenario::{self, Outcome, Tier};
use paravane_tests::status::Status;
use std::time::Instant;
use tally::Tally;

/// A test run under way.
struct Run<'a> {
    project: &'a Project,
    filter: Option<&'a str>,
    sum: Tally,
}

impl Run<'_> {
    /// Whether the user asked for a step of this name.
    fn wants(&self, name: &str) -> bool {
        self.filter.is_none_or(|filter| name.contains(filter))
    }

    /// Runs one step and counts it as one test.
    fn step(&mut self, name: &str, work: impl FnOnce(&Project) -> Result<()>) -> Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let start = Instant::now();
        run::say(name);
        match work(self.project) {
            Ok(()) => {
                println!("test {name} ... ok ({:.1} s)", start.elapsed().as_secs_f32());
                self.sum.passed += 1;
            }
            // What ends the run ends it whatever was being tested.
            Err(error) if matches!(stop::status_of(&error), Status::Interrupted | Status::Missing) => {
                return Err(error);
            }
            Err(error) => {
                println!("test {name} ... FAILED");
                println!("{error:#}");
                self.sum.failed.push(name.to_owned());
            }
        }
        Ok(())
    }
}

/// Runs `test`.
pub fn command(project: &Project, options: &cli::Test) -> Result<Status> {
    let start = Instant::now();
    let bring = Bring::from_options(&options.setup);
    let mut run = Run { project, filter: options.name.as_deref(), sum: Tally::default() };
    let (toolchain, headers) = {
        let _lock = setup::lock(project)?;
        (setup::toolchain::need(project, bring)?, fixtures::xen_headers(project, bring)?)
    };
    if steps::has_formatter(project) {
        run.step("formatting", steps::formatting)?;
    } else if run.wants("formatting") {
        run.sum.skipped.push("formatting: the active toolchain has no rustfmt".to_owned());
    }
    run.step("lints of the host crates", steps::host_lints)?;
    for (name, image) in steps::image_lint_names() {
        run.step(&name, |project| steps::image_lints(project, &toolchain, image))?;
    }
    run.step("documentation", steps::documentation)?;
    // A crate's test has a path with colons for a name; only a scenario's has a slash.
    if !run.filter.is_some_and(|filter| filter.contains('/')) {
        run.sum.add(steps::host_tests(project, &headers, run.filter)?);
    }
    machines(&mut run, bring, options)?;
    if options.full {
        run.step("full/reproducible", |project| reproduce::check(project, bring))?;
        fuzz::check(&mut run, bring)?;
        run.step("full/mutants", |project| mutants::check(project, bring))?;
        run.step("full/faults", |project| crate::mutants::check(project, bring))?;
        bare_machine(&mut run, "full/bare", options, false)?;
        bare_machine(&mut run, "full/bare-user", options, true)?;
    }
    Ok(finish(&run.sum, start, run.filter))
}

/// What is in the names of scenarios that boot real Xen.
const XEN: [&str; 6] =
    ["-xen", "oracle/", "conformance/xen", "conformance/diff", "compare/all", "report/whole"];

/// The scenarios that boot machines.
fn machines(run: &mut Run<'_>, bring: Bring, options: &cli::Test) -> Result<()> {
    let wanted: Vec<_> = scenario::ALL
        .iter()
        .filter(|scenario| run.wants(scenario.name) && (options.full || scenario.tier == Tier::Ci))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    if options.no_build {
        build::made(run.project)?;
    } else {
        build::all(run.project, bring)?;
    }
    {
        let _lock = setup::lock(run.project)?;
        setup::qemu::need(run.project, bring)?;
        if wanted.iter().any(|scenario| scenario.name.starts_with("image/")) {
            setup::grub::need(run.project, bring)?;
            setup::grub::firmware(run.project, bring)?;
        }
        if wanted.iter().any(|scenario| XEN.iter().any(|part| scenario.name.contains(part))) {
            fixtures::xen(run.project, bring)?;
        }
        if wanted.iter().any(|scenario| scenario.name.starts_with("guests/grub")) {
            setup::grub::need(run.project, bring)?;
            setup::grub::pv(run.project, bring)?;
        }
        // In the short tier a machine without a browser skips it; the long one leaves nothing out.
        if options.full && wanted.iter().any(|scenario| scenario.name.starts_with("report/")) {
            setup::browser::need(run.project, bring)?;
        }
        if wanted.iter().any(|scenario| scenario.name == "guests/debian") {
            fixtures::linux(run.project, bring)?;
        }
    }
    let scratch = run.project.kernel_target().join("scratch");
    std::fs::create_dir_all(&scratch)?;
    let xtask = std::env::current_exe().context("finding this program")?;
    let context = scenario::Context { xtask, images: build::images(run.project), scratch };
    for scenario in wanted {
        let mut skipped = None;
        run.step(scenario.name, |_| {
            match (scenario.run)(&context)? {
                Outcome::Passed(text) => run::say(format_args!("  {text}")),
                Outcome::Skipped(why) => skipped = Some(why),
            }
            Ok(())
        })?;
        if let Some(why) = skipped {
            // A step without an error was counted as passed.
            run.sum.passed -= 1;
            run.sum.skipped.push(format!("{}: {why}", scenario.name));
        }
    }
    Ok(())
}

/// The two commands on a bare machine; a user without rights runs the demonstration alone, since all else is
/// the same.
fn bare_machine(run: &mut Run<'_>, name: &str, options: &cli::Test, user: bool) -> Result<()> {
    let bare = cli::Bare { user, boot_only: user, keep: false, setup: options.setup };
    if run.wants(name) && !rustix::process::geteuid().is_root() {
        run.sum.skipped.push(format!("{name}: needs root, to make a system of its own"));
        return Ok(());
    }
    run.step(name, |project| match bare::command(project, &bare)? {
        Status::Good => Ok(()),
        status => bail!("it ended with status {} ({status})", status.code()),
    })
}

/// Prints what failed, what was skipped and why, and the sum as the last line.
fn finish(sum: &Tally, start: Instant, filter: Option<&str>) -> Status {
    for name in &sum.skipped {
        println!("skipped {name}");
    }
    for name in &sum.failed {
        println!("failed {name}");
    }
    run::say(format_args!("tests took {:.0} s", start.elapsed().as_secs_f32()));
    println!("{sum}");
    match filter {
        Some(filter) if !sum.ran() => stop::report(&stop::usage(format!("no test's name contains {filter}"))),
        _ if !sum.failed.is_empty() || !sum.ran() => Status::CheckFailed,
        _ => Status::Good,
    }
}
