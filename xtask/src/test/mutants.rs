//! Mutation tests of the modules whose mistakes would be security holes: every change that cargo-mutants makes
//! to them should fail a test.

use super::steps;
use crate::project::Project;
use crate::run;
use crate::setup::{Bring, cargo_tool};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;

/// The modules, as folders of `hypervisor/core/src`.
const MODULES: [&str; 3] = ["frame", "pagetable", "event"];

/// The least share of mutants caught, in percent, for each module.
const LEAST: usize = 85;

/// Exit statuses of cargo-mutants when it ran to the end: some mutants were missed, some ran for ever.
const FOUND_MISSED: i32 = 2;
const FOUND_TIMEOUTS: i32 = 3;

/// Tests that a mutant is not run against: seconds each without optimisation, and about other modules or at random.
const LONG_TESTS: [&str; 4] = [
    "every_exception_goes_to_its_handler",
    "emulate::tests::random",
    "grants::random",
    "whatever_a_guest_does_all_counts_agree",
];

/// Seconds after which a mutant's tests run for ever.
const MUTANT_SECONDS: &str = "60";

/// What became of one module's mutants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Score {
    caught: usize,
    missed: Vec<String>,
}

impl Score {
    fn percent(&self) -> usize {
        let sum = self.caught + self.missed.len();
        (self.caught * 100).checked_div(sum).unwrap_or(0)
    }
}

/// Runs cargo-mutants over the modules and holds each to the least share.
pub fn check(project: &Project, bring: Bring) -> Result<()> {
    let tool = cargo_tool(project, bring, "cargo-mutants")?;
    let output = project.target.join("mutants");
    fs::create_dir_all(&output)?;
    let mut command = steps::cargo(project);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = tool.parent().into_iter().map(Into::into).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(folders)?);
    command.args(["mutants", "--package", "paravane-core", "--no-shuffle", "--colors=never"]);
    for module in MODULES {
        command.arg("--file").arg(format!("hypervisor/core/src/{module}/**/*.rs"));
    }
    command.arg("--output").arg(&output);
    // A mutant costs a build and a run of the tests: as many at a time as there are processors, in a profile that
    // compiles quickly, and the unit tests alone, which end in seconds. The long ones would only find more.
    command.args(["--profile", "mutants"]);
    let jobs = std::thread::available_parallelism()?.get().min(4).to_string();
    command.args(["--jobs", &jobs, "--timeout", MUTANT_SECONDS, "--", "--lib", "--"]);
    for test in LONG_TESTS {
        command.args(["--skip", test]);
    }
    // An earlier run's outcomes must not be taken for this one's.
    let path = output.join("mutants.out/outcomes.json");
    if path.exists() {
        fs::remove_file(&path)?;
    }
    // It ends with a status of its own when mutants are missed; the file it writes tells more.
    let status = run::status(&mut command)?;
    if !matches!(status.code(), Some(0 | FOUND_MISSED | FOUND_TIMEOUTS)) {
        bail!("cargo mutants ended with {status}");
    }
    let text = fs::read_to_string(&path)
        .with_context(|| format!("cargo mutants ended with {status} and left no {}", path.display()))?;
    let outcomes: Value = serde_json::from_str(&text).context("reading the outcomes of cargo mutants")?;
    let mut bad = Vec::new();
    for module in MODULES {
        let score = score(&outcomes, module);
        println!(
            "mutants of {module}: {} caught, {} missed, {} %",
            score.caught,
            score.missed.len(),
            score.percent()
        );
        for name in &score.missed {
            println!("  missed {name}");
        }
        if score.percent() < LEAST {
            bad.push(format!(
                "{module}: {} % of the mutants are caught, {LEAST} % are wanted",
                score.percent()
            ));
        }
    }
    if !bad.is_empty() {
        bail!("{}", bad.join("\n"));
    }
    Ok(())
}

/// Counts one module's outcomes. A mutant that made the tests run for ever was noticed too; one that does not
/// compile says nothing.
fn score(outcomes: &Value, module: &str) -> Score {
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
        let frame = score(&outcomes, "frame");
        assert_eq!((frame.caught, frame.missed.len(), frame.percent()), (2, 1, 66));
        assert_eq!(frame.missed, ["replace in hypervisor/core/src/frame/refs.rs"]);
        assert_eq!(score(&outcomes, "event").percent(), 100);
        assert_eq!(score(&outcomes, "pagetable").percent(), 0, "nothing tested is nothing caught");
    }
}
