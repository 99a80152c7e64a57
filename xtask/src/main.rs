//! `cargo xtask`: sets up, builds, runs and tests Paravane. One file or folder per command.

mod bare;
mod build;
mod cli;
mod compare;
mod conformance;
mod digest;
mod figures;
mod image;
mod lab;
mod mutants;
mod number;
mod oracle;
mod project;
mod qemu;
mod report;
mod run;
mod setup;
mod stop;
mod test;
mod trace;

use clap::Parser;
use paravane_tests::status::Status;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let status = dispatch(cli).unwrap_or_else(|error| stop::report(&error));
    ExitCode::from(status.code())
}

fn dispatch(cli: cli::Cli) -> anyhow::Result<Status> {
    let project = project::Project::find()?;
    match cli.command {
        cli::Command::Setup(options) => setup::command(&project, &options),
        cli::Command::Build(options) => build::command(&project, &options),
        cli::Command::Qemu(options) => qemu::command(&project, &options),
        cli::Command::Image(options) => image::command(&project, &options),
        cli::Command::Oracle(options) => oracle::command(&project, &options),
        cli::Command::Compare(options) => compare::command(&project, &options),
        cli::Command::Figures => figures::command(&project),
        cli::Command::Lab(options) => lab::command(&project, &options),
        cli::Command::Trace(options) => trace::command(&project, &options),
        cli::Command::Report(options) => report::command(&project, &options),
        cli::Command::Conformance(options) => conformance::command(&project, &options),
        cli::Command::Mutants(options) => mutants::command(&project, &options),
        cli::Command::Test(options) => test::command(&project, &options),
        cli::Command::Bare(options) => bare::command(&project, &options),
    }
}
