//! `cargo xtask report`: the HTML report of `cargo xtask compare`, made again from what was kept, tried in a browser, and
//! pictured for the book.

mod browser;
mod check;
pub mod data;
pub mod page;
mod shots;

use crate::project::Project;
use crate::setup::{self, Bring};
use crate::{cli, compare, run, stop};
use anyhow::{Context, Result};
use clap::Args;
use data::Data;
use paravane_tests::status::Status;
use std::path::{Path, PathBuf};

/// What the report is made of when nothing else is named: a few operations on all machines, for tests.
const SAMPLE: &str = "tests/golden/report.json";

const EXAMPLES: &str = "\
Examples:
  cargo xtask report                       make a report of the sample, and press everything in it
  cargo xtask report compare.html          press everything in this one
  cargo xtask report --data compare.json --output compare.html
                                           make it again of what `compare --data` kept
  cargo xtask report --data compare.json --pictures
                                           and remake the book's pictures of it
  cargo xtask report --data compare.json --only null-syscall --only pte-write --keep small.json
                                           a report of two operations, and what it is made of

A browser without a window opens the report, presses every tab, chart, timeline and button, and looks
whether something came of it. Exit status: 0 when all did and the console shows no error, else 1; 3
when there is no browser.";

/// Options of `report`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The report to try; one is made if there is none
    #[arg(value_name = "FILE.html", conflicts_with_all = ["data", "output", "only", "keep"])]
    pub page: Option<PathBuf>,
    /// What the report is to be made of: a file that `compare --data` wrote [default: the sample]
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Where the report is to be
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// An operation that the report is to have. Once for each; all that were counted when there is none
    #[arg(long, value_name = "OPERATION")]
    pub only: Vec<String>,
    /// Keep what this report is made of in this file
    #[arg(long, value_name = "FILE")]
    pub keep: Option<PathBuf>,
    /// Take the book's pictures, in this folder or in docs/img
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, require_equals = true)]
    pub pictures: Option<Option<PathBuf>>,
    /// Make the report, and try nothing
    #[arg(long, requires = "output", conflicts_with = "pictures")]
    pub untried: bool,
    #[command(flatten)]
    pub setup: cli::Setup,
}

/// Runs `report`.
pub fn command(project: &Project, options: &Options) -> Result<Status> {
    let scratch = project.kernel_target().join("scratch");
    std::fs::create_dir_all(&scratch).with_context(|| format!("making {}", scratch.display()))?;
    let page = match &options.page {
        Some(page) => page.clone(),
        None => made(project, options, &scratch)?,
    };
    if options.untried {
        return Ok(Status::Good);
    }
    let browser = {
        let _lock = setup::lock(project)?;
        setup::browser::need(project, Bring::from_options(&options.setup))?
    };
    run::say(format_args!("pressing everything in {}", page.display()));
    let mut browser = browser::Browser::start(&browser.command(), &scratch)?;
    let path =
        page.canonicalize().map_err(|_| stop::usage(format!("there is no file {}", page.display())))?;
    browser.open(&format!("file://{}", path.display()))?;
    let seen = check::all(&mut browser)?;
    println!("{}: {seen}", page.display());
    if let Some(folder) = &options.pictures {
        let folder = folder.clone().unwrap_or_else(|| project.root.join("docs/img"));
        shots::all(&mut browser, &folder)?;
    }
    Ok(Status::Good)
}

fn made(project: &Project, options: &Options, scratch: &Path) -> Result<PathBuf> {
    let data = options.data.clone().unwrap_or_else(|| project.root.join(SAMPLE));
    let mut data = Data::read(&data)?;
    let only = compare::chosen_operations(&options.only)?;
    data.timelines.retain(|line| only.iter().any(|operation| operation.name == line.operation));
    if let Some(path) = &options.keep {
        data.write(path)?;
    }
    let path = options.output.clone().unwrap_or_else(|| scratch.join("report.html"));
    write(&data, &path)?;
    Ok(path)
}

/// Writes a report.
pub fn write(data: &Data, path: &Path) -> Result<()> {
    let page = page::of(data)?;
    std::fs::write(path, &page).with_context(|| format!("writing {}", path.display()))?;
    run::say(format_args!("{} has {} kB, and needs no network", path.display(), page.len().div_ceil(1000)));
    Ok(())
}
