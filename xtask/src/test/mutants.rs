//! Mutation tests of the modules whose mistakes would be security holes: every change that cargo-mutants makes
//! to them should fail a test.

use super::steps;
use crate::project::Project;
use crate::setup::{Bring, cargo_tool};
use crate::{digest, run};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A module under test.
struct Module {
    /// Its folder in `hypervisor/core/src`.
    folder: &'static str,
    /// The unit tests that are about it, by parts of their names: running those alone keeps a mutant at seconds, and
    /// the others could only find more.
    tests: &'static [&'static str],
    /// Those of them that are left out, since they take long and are about something else.
    skipped: &'static [&'static str],
}

const MODULES: [Module; 3] = [
    Module { folder: "frame", tests: &["frame::", "pagetable::"], skipped: &["batches::", "in_steps"] },
    Module { folder: "pagetable", tests: &["pagetable::", "calls::tests::grants::map"], skipped: &[] },
    Module {
        folder: "event",
        tests: &[
            "event::",
            "calls::tests::events",
            "calls::tests::channels",
            "calls::tests::fifo",
            "calls::tests::vcpu_events",
        ],
        skipped: &[],
    },
];

/// The least share of mutants caught, in percent, for each module.
const LEAST: usize = 85;

/// Exit statuses of cargo-mutants when it ran to the end: some mutants were missed, some ran for ever.
const FOUND_MISSED: i32 = 2;
const FOUND_TIMEOUTS: i32 = 3;

/// Tests that no mutant is run against: seconds each without optimisation, and at random.
const LONG_TESTS: [&str; 3] = ["random", "whatever_", "what_is_freed_becomes_one_again"];

/// Seconds after which a mutant's tests run for ever. They take two.
const MUTANT_SECONDS: &str = "20";

/// Mutants that are tried in one go. What a run found out about a share is kept, so that one that was cut short
/// goes on where it stopped.
const SHARE: usize = 150;

/// What became of one module's mutants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Score {
    caught: usize,
    missed: Vec<String>,
}

impl Score {
    fn add(&mut self, other: Self) {
        self.caught += other.caught;
        self.missed.extend(other.missed);
    }

    fn percent(&self) -> usize {
        let sum = self.caught + self.missed.len();
        (self.caught * 100).checked_div(sum).unwrap_or(0)
    }
}

/// Runs cargo-mutants over the modules and holds each to the least share.
pub fn check(project: &Project, bring: Bring) -> Result<()> {
    let tool = cargo_tool(project, bring, "cargo-mutants")?;
    let folder = project.target.join("mutants").join(sources(project)?);
    fs::create_dir_all(&folder)?;
    let mut bad = Vec::new();
    for module in &MODULES {
        let name = module.folder;
        let score = try_module(project, &tool, module, &folder)?;
        println!(
            "mutants of {name}: {} caught, {} missed, {} %",
            score.caught,
            score.missed.len(),
            score.percent()
        );
        for name in &score.missed {
            println!("  missed {name}");
        }
        if score.percent() < LEAST {
            bad.push(format!(
                "{name}: {} % of the mutants are caught, {LEAST} % are wanted",
                score.percent()
            ));
        }
    }
    if !bad.is_empty() {
        bail!("{}", bad.join("\n"));
    }
    Ok(())
}

/// Tries all of a module's mutants, share by share, except shares that an earlier run has tried on the same sources.
fn try_module(project: &Project, tool: &Path, module: &Module, folder: &Path) -> Result<Score> {
    let list = run::output(mutants(project, tool, module)?.arg("--list"))?;
    let shares = list.lines().count().div_ceil(SHARE);
    let mut score = Score::default();
    for share in 0..shares {
        let kept = folder.join(format!("{}-{share}-of-{shares}.json", module.folder));
        if !kept.exists() {
            println!("mutants of {}: share {} of {shares}", module.folder, share + 1);
            try_share(project, mutants(project, tool, module)?, module, (share, shares), &kept)?;
        }
        let outcomes: Value = serde_json::from_str(&fs::read_to_string(&kept)?)
            .with_context(|| format!("reading the outcomes of cargo mutants in {}", kept.display()))?;
        score.add(count(&outcomes, module.folder));
    }
    Ok(score)
}

/// Tries one share of a module's mutants and keeps the outcomes.
fn try_share(
    project: &Project,
    mut command: Command,
    module: &Module,
    (share, shares): (usize, usize),
    kept: &Path,
) -> Result<()> {
    let output = project.target.join("mutants").join("running");
    fs::create_dir_all(&output)?;
    // An earlier run's outcomes must not be taken for this one's.
    let outcomes = output.join("mutants.out/outcomes.json");
    if outcomes.exists() {
        fs::remove_file(&outcomes)?;
    }
    command.arg("--output").arg(&output);
    command.arg("--shard").arg(format!("{share}/{shares}"));
    // A mutant costs a build and a run of the tests: as many at a time as there are processors, and in a profile
    // that compiles quickly.
    let jobs = std::thread::available_parallelism()?.get().min(4).to_string();
    command.args(["--no-shuffle", "--colors=never", "--profile", "mutants", "--jobs", &jobs]);
    // The unit tests alone, for both the build and the run: an argument after `--` would reach the run only.
    command.args(["--cargo-arg=--lib", "--timeout", MUTANT_SECONDS, "--", "--"]);
    command.args(module.tests);
    for test in LONG_TESTS.iter().chain(module.skipped) {
        command.args(["--skip", test]);
    }
    // It ends with a status of its own when mutants are missed; the file it writes tells more.
    let status = run::status(&mut command)?;
    if !matches!(status.code(), Some(0 | FOUND_MISSED | FOUND_TIMEOUTS)) {
        bail!("cargo mutants ended with {status}");
    }
    fs::rename(&outcomes, kept)
        .with_context(|| format!("cargo mutants ended with {status} and left no {}", outcomes.display()))
}

/// cargo-mutants, asked about `core`.
pub fn tool(project: &Project, tool: &Path) -> Result<Command> {
    let mut command = steps::cargo(project);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = tool.parent().into_iter().map(Into::into).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(folders)?);
    // For the manifest of `core`.
    command.env("RUSTFLAGS", "--cfg mutants");
    command.args(["mutants", "--package", "paravane-core"]);
    Ok(command)
}

/// cargo-mutants, asked about a module's code. The doubles of the tests are left out: no guest meets them.
fn mutants(project: &Project, path: &Path, module: &Module) -> Result<Command> {
    let mut command = tool(project, path)?;
    command.args(["--exclude", "**/fake.rs"]);
    command.arg("--file").arg(format!("hypervisor/core/src/{}/**/*.rs", module.folder));
    Ok(command)
}

/// A name for the state of everything that the outcomes depend on.
fn sources(project: &Project) -> Result<String> {
    let mut all = Vec::new();
    let mut folders = vec![project.root.join("hypervisor/core"), project.root.join("abi/src")];
    let mut files = vec![
        project.root.join("Cargo.toml"),
        project.root.join("Cargo.lock"),
        project.root.join("xtask/src/test/mutants.rs"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    for file in files {
        all.extend(file.strip_prefix(&project.root)?.as_os_str().as_encoded_bytes());
        all.extend(fs::read(&file).with_context(|| format!("reading {}", file.display()))?);
    }
    Ok(digest::of_bytes(&all)[..16].to_owned())
}

/// Counts one module's outcomes. A mutant that made the tests run for ever was noticed too; one that does not
/// compile says nothing.
fn count(outcomes: &Value, module: &str) -> Score {
    let folder = format!("hypervisor/core/src/{module}/");
    let mut score = Score::default();
    for outcome in outcomes["outcomes"].as_array().into_iter().flatten() {
        let mutant = &outcome["scenario"]["Mutant"];
        if !mutant["file"].as_str().is_some_and(|file| file.starts_with(&folder)) {
            continue;
        }
        match outcome["summary"].as_str() {
            Some("CaughtMutant" | "Timeout") => score.caught += 1,
            Some("MissedMutant") => score.missed.push(mutant["name"].as_str().unwrap_or("?").to_owned()),
            _ => {}
        }
    }
    score
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_by_module() {
        let mutant = |file: &str, summary: &str| {
            serde_json::json!({
                "scenario": {"Mutant": {"file": file, "name": format!("replace in {file}")}},
                "summary": summary,
            })
        };
        let outcomes = serde_json::json!({"outcomes": [
            {"scenario": "Baseline", "summary": "Success"},
            mutant("hypervisor/core/src/frame/mod.rs", "CaughtMutant"),
            mutant("hypervisor/core/src/frame/refs.rs", "Timeout"),
            mutant("hypervisor/core/src/frame/refs.rs", "MissedMutant"),
            mutant("hypervisor/core/src/frame/refs.rs", "Unviable"),
            mutant("hypervisor/core/src/event/mod.rs", "CaughtMutant"),
        ]});
        let frame = count(&outcomes, "frame");
        assert_eq!((frame.caught, frame.missed.len(), frame.percent()), (2, 1, 66));
        assert_eq!(frame.missed, ["replace in hypervisor/core/src/frame/refs.rs"]);
        assert_eq!(count(&outcomes, "event").percent(), 100);
        assert_eq!(count(&outcomes, "pagetable").percent(), 0, "nothing tested is nothing caught");
    }
}
