//! `cargo xtask trace`: what happens during one operation, crossing by crossing.

pub mod fold;
mod lanes;
mod perfetto;
#[cfg(test)]
pub mod samples;

use crate::project::Project;
use crate::report::data::Data;
use crate::{cli, compare, run, stop};
use anyhow::{Context, Result};
use clap::Args;
use paravane_tests::compare::operations::{Machine, Operation};
use paravane_tests::status::Status;
use paravane_tests::trace::observe::observe;
use paravane_tests::trace::timeline::Timeline;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  cargo xtask trace null-syscall --machine pv-ring3     who runs, why, and for how many instructions
  cargo xtask trace pte-write --machine pv-ring1 --machine trap
                                                        two machines, one below the other
  cargo xtask trace fork-wait --machine trap --all      each line of a long timeline
  cargo xtask trace int3 --machine trap --json int3.json
                                                        for ui.perfetto.dev, or chrome://tracing
  cargo xtask trace int3 --machine trap --from kept.json
                                                        from what `compare --data` kept
  cargo xtask compare --list                            the operations

Time goes down. A number is what a stretch executed, an arrow where control went, and the words why.
What a loop repeats is shown once, in brackets. In the JSON, a microsecond stands for an instruction.";

/// Options of `trace`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// The operation
    #[arg(value_name = "OPERATION")]
    pub operation: String,
    /// A machine: native, pv-ring1, pv-ring3, trap or xen. Once for each; all of them when there is none
    #[arg(long, value_name = "NAME")]
    pub machine: Vec<String>,
    /// Show all of it, however long
    #[arg(long)]
    pub all: bool,
    /// Write it in Chrome's trace event format to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Boot nothing: take what `compare --data` wrote to this file
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// Boot the images as they were built last
    #[arg(long)]
    pub no_build: bool,
    #[command(flatten)]
    pub setup: cli::Setup,
}

/// Runs `trace`.
pub fn command(project: &Project, options: &Options) -> Result<Status> {
    let operation = compare::chosen_operations(std::slice::from_ref(&options.operation))?[0];
    let machines = compare::chosen_machines(&options.machine)?;
    let named = !options.machine.is_empty();
    let (absent, machines): (Vec<_>, Vec<_>) =
        machines.into_iter().partition(|machine| operation.absent_on(*machine).is_some());
    for machine in &absent {
        let why = operation.absent_on(*machine).unwrap_or_default();
        let words = format!("{} on {}: {why}", operation.name, machine.name());
        if named {
            return Err(stop::usage(format!("there is no {words}")));
        }
        run::say(format_args!("n/a {words}"));
    }
    let timelines = match &options.from {
        Some(path) => kept(path, operation, &machines)?,
        None => seen(project, options, operation, &machines)?,
    };
    let view = view(options.all);
    for timeline in &timelines {
        match writeln!(std::io::stdout(), "{}", lanes::of(timeline, view)) {
            // Who reads has seen enough: `trace ... | head`.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
            done => done.context("writing the timeline")?,
        }
    }
    if let Some(path) = &options.json {
        let text = perfetto::of(&timelines)?;
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
        run::say(format_args!("{}: open it in ui.perfetto.dev or chrome://tracing", path.display()));
    }
    Ok(Status::Good)
}

/// The timelines of a file.
fn kept(path: &std::path::Path, operation: &Operation, machines: &[Machine]) -> Result<Vec<Timeline>> {
    let timelines = Data::read(path)?.timelines;
    let find = |machine: &Machine| {
        let found =
            timelines.iter().find(|line| line.operation == operation.name && line.machine == *machine);
        found.cloned().with_context(|| {
            format!("{} has no timeline of {} on {}", path.display(), operation.name, machine.name())
        })
    };
    machines.iter().map(find).collect()
}

/// Boots each machine, and takes its timeline of this operation.
fn seen(
    project: &Project,
    options: &Options,
    operation: &Operation,
    machines: &[Machine],
) -> Result<Vec<Timeline>> {
    let context = compare::prepare(project, &options.setup, options.no_build, machines)?;
    let see = |machine: &Machine| {
        run::say(format_args!("watching {} on {}", operation.name, machine.name()));
        let found = observe(&context, *machine, &[operation])?
            .into_iter()
            .find(|line| line.operation == operation.name);
        found.with_context(|| format!("{} was not seen on {}", operation.name, machine.name()))
    };
    machines.iter().map(see).collect()
}

/// Colours and width are for terminals; a file gets whole lines.
fn view(all: bool) -> lanes::View {
    let out = std::io::stdout();
    let terminal = out.is_terminal();
    let width = rustix::termios::tcgetwinsize(&out)
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|width| *width > 0);
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    lanes::View { width: width.filter(|_| terminal), colour, all }
}
