//! `cargo xtask oracle`: boots a small case on real Xen and on Paravane and shows what it saw on both.

mod table;

use crate::project::Project;
use crate::setup::{self, Bring, fixtures};
use crate::{build, cli, run, stop};
use anyhow::{Context, Result};
use paravane_tests::oracle::{self, Hypervisor, Verdict};
use paravane_tests::scenario;
use paravane_tests::status::Status;

/// Runs `oracle`.
pub fn command(project: &Project, options: &cli::Oracle) -> Result<Status> {
    let cases = oracle::named(options.case.as_deref());
    if options.list {
        oracle::named(None).iter().for_each(|case| println!("{:<18}{}", case.name, case.about));
        return Ok(Status::Good);
    }
    if cases.is_empty() {
        let all: Vec<&str> = oracle::named(None).iter().map(|case| case.name).collect();
        let named = options.case.as_deref().unwrap_or_default();
        return Err(stop::usage(format!("no case is named {named}; there are: {}", all.join(", "))));
    }
    let bring = Bring::from_options(&options.setup);
    if options.no_build {
        build::made(project)?;
    } else {
        build::all(project, bring)?;
    }
    {
        let _lock = setup::lock(project)?;
        setup::qemu::need(project, bring)?;
        fixtures::xen(project, bring)?;
    }
    let scratch = project.kernel_target().join("scratch");
    std::fs::create_dir_all(&scratch)?;
    let xtask = std::env::current_exe().context("finding this program")?;
    let context = scenario::Context { xtask, images: build::images(project), scratch };
    let case = options.case.as_deref();
    run::say(format_args!("booting Xen"));
    let xen = oracle::observe(&context, Hypervisor::Xen, case)?;
    run::say(format_args!("booting Paravane"));
    let paravane = oracle::observe(&context, Hypervisor::Paravane, case)?;
    let comparison = oracle::compare(&cases, &xen, &paravane);
    println!("{}", table::of(&comparison, options.differences));
    for fault in comparison.faults() {
        println!("to settle: {fault}");
    }
    let same = comparison.count(|verdict| verdict == Verdict::Same);
    let explained = comparison.count(|verdict| matches!(verdict, Verdict::Explained(_)));
    println!("{same} the same, {explained} explained, {} to settle", comparison.faults().len());
    Ok(if comparison.holds() { Status::Good } else { Status::CheckFailed })
}
