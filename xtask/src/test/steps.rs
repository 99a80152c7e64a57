//! The parts of a test run that are other programs: formatting, lints, documentation, `cargo test`.

use super::tally::{self, Tally};
use crate::build::{self, IMAGES};
use crate::project::Project;
use crate::setup::toolchain::Toolchain;
use crate::{run, stop};
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Packages that are bare-metal images, but whose logic has tests on the host.
const HOST_TESTED: [&str; 5] =
    ["pv-guest", "pv-guest-user", "pv-guest-attack", "paravane-conformance", "pv-guest-probe"];

/// The cargo of the active toolchain: the one that started this program.
pub fn cargo(project: &Project) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&project.root);
    command
}

/// Debian's toolchain comes without rustfmt.
pub fn has_formatter(project: &Project) -> bool {
    run::succeeds(cargo(project).args(["fmt", "--version"]))
}

/// `cargo fmt --check` over the whole workspace.
pub fn formatting(project: &Project) -> Result<()> {
    run::run(cargo(project).args(["fmt", "--all", "--check"]))
}

/// Clippy over everything that builds on the host.
pub fn host_lints(project: &Project) -> Result<()> {
    run::run(cargo(project).args(["clippy", "--all-targets", "--quiet", "--", "-Dwarnings"]))
}

/// Clippy over one bare-metal package, with the toolchain that builds it.
pub fn image_lints(project: &Project, toolchain: &Toolchain, image: &build::Image) -> Result<()> {
    let mut command = build::cargo(project, toolchain, image, "clippy");
    run::run(command.args(["--quiet", "--", "-Dwarnings"]))
}

/// The documentation builds without a warning.
pub fn documentation(project: &Project) -> Result<()> {
    let mut command = cargo(project);
    command.env("RUSTDOCFLAGS", "-Dwarnings").args(["doc", "--no-deps", "--quiet"]);
    run::run(&mut command)
}

/// The names of the lint steps of the bare-metal packages.
pub fn image_lint_names() -> Vec<(String, &'static build::Image)> {
    IMAGES.iter().map(|image| (format!("lints of {}", image.package), image)).collect()
}

/// All tests that run on the host.
pub fn host_tests(project: &Project, headers: &Path, filter: Option<&str>) -> Result<Tally> {
    let mut sum = Tally::default();
    let mut command = cargo(project);
    command.args(["test", "--no-fail-fast"]);
    sum.add(cargo_test("host tests", &mut command, headers, filter)?);
    for package in HOST_TESTED {
        let mut command = cargo(project);
        command.args(["test", "--no-fail-fast", "--package", package, "--lib"]);
        sum.add(cargo_test(&format!("host tests of {package}"), &mut command, headers, filter)?);
    }
    Ok(sum)
}

/// Runs `cargo test`, shows its output as it comes, and counts.
fn cargo_test(what: &str, command: &mut Command, headers: &Path, filter: Option<&str>) -> Result<Tally> {
    run::say(what);
    // The abi crate's listing is compared with these headers.
    command.env("PARAVANE_XEN_INCLUDE", headers);
    if let Some(filter) = filter {
        command.arg(filter);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {}", run::shown(command)))?;
    let mut text = String::new();
    let reader = BufReader::new(child.stdout.take().context("no pipe for standard output")?);
    for line in reader.split(b'\n') {
        let line = line.with_context(|| format!("reading the output of {}", run::shown(command)))?;
        let line = String::from_utf8_lossy(&line);
        writeln!(std::io::stdout(), "{line}")?;
        text.push_str(&line);
        text.push('\n');
    }
    let status = child.wait()?;
    if std::os::unix::process::ExitStatusExt::signal(&status) == Some(2) {
        return Err(stop::interrupted());
    }
    Ok(tally::of_cargo_test(what, &text, status.success()))
}
