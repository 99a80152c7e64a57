//! Fuzzing of what the hypervisor decides: libFuzzer makes up inputs for each target, led by the code they reach.

use super::{Run, steps};
use crate::project::Project;
use crate::run;
use crate::setup::{Bring, cargo_tool};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

/// The targets, as `hypervisor/core/fuzz` names them.
const TARGETS: [&str; 5] = ["hypercalls", "page_tables", "device_tree", "elf_notes", "instructions"];

/// How long each is fuzzed.
const SECONDS: &str = "600";
/// One input that takes longer than this is a failure.
const INPUT_SECONDS: &str = "60";
/// Longest input in bytes.
const INPUT_BYTES: usize = 4096;
/// Targets in which an input is a sequence: a short one comes nowhere, so they begin with inputs of many steps, and
/// don't prefer short ones.
const SEQUENCES: [&str; 2] = ["hypercalls", "page_tables"];
/// Inputs they begin with, and the length of the shortest in bytes.
const SEEDS: usize = 64;
const SEED_BYTES: usize = 1024;
/// Lines of its output that are shown of a target that failed.
const SHOWN: usize = 60;

/// The compilers, without which no target can be built, and the command that brings each.
const NIGHTLY: [&str; 2] = ["a nightly toolchain", "rustup toolchain install nightly --profile minimal"];
const CXX: [&str; 2] = ["a C++ compiler", "apt-get install g++"];

/// The compiler that is missing, if one is.
fn lacking() -> Option<[&'static str; 2]> {
    let nightly = run::succeeds(Command::new("rustup").args(["run", "nightly", "rustc", "--version"]));
    match () {
        () if !nightly => Some(NIGHTLY),
        () if !run::succeeds(Command::new("c++").arg("--version")) => Some(CXX),
        () => None,
    }
}

/// Runs the targets that are wanted, as many at a time as there are processors.
pub fn check(run: &mut Run<'_>, bring: Bring) -> Result<()> {
    let names = TARGETS.map(|target| (target, format!("full/fuzz/{target}")));
    let wanted: Vec<_> = names.iter().filter(|(_, name)| run.wants(name)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    if let Some([what, command]) = lacking() {
        let skipped = wanted.iter().map(|(_, name)| format!("{name}: needs {what} ({command})"));
        run.sum.skipped.extend(skipped);
        return Ok(());
    }
    let built = build(run.project, bring)?;
    let queue = Mutex::new(wanted.iter().rev().map(|(target, _)| *target).collect::<Vec<_>>());
    let ends = Mutex::new(Vec::new());
    let workers = thread::available_parallelism()?.get().min(wanted.len());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(target) = queue.lock().ok().and_then(|mut queue| queue.pop()) {
                    let end = fuzz(run.project, &built, target);
                    if let Ok(mut ends) = ends.lock() {
                        ends.push((target, end));
                    }
                }
            });
        }
    });
    let mut ends = ends.into_inner().unwrap_or_default();
    for (target, name) in wanted {
        run.step(name, |_| {
            let place = ends.iter().position(|(ended, _)| ended == target).context("it was not run")?;
            println!("{}", ends.swap_remove(place).1?);
            Ok(())
        })?;
    }
    Ok(())
}

/// Builds all targets; the answer is the folder of the programs.
fn build(project: &Project, bring: Bring) -> Result<PathBuf> {
    let tool = cargo_tool(project, bring, "cargo-fuzz")?;
    let folder = project.target.join("fuzz");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = tool.parent().into_iter().map(Into::into).chain(std::env::split_paths(&path));
    let mut command = Command::new("rustup");
    command.current_dir(&project.root).env("PATH", std::env::join_paths(folders)?);
    // This program's cargo is another toolchain's.
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command.args(["run", "nightly", "cargo", "fuzz", "build", "--features", "libfuzzer"]);
    // Nothing that is fuzzed has unsafe code, in which alone a sanitizer finds anything.
    command.args(["--sanitizer", "none", "--fuzz-dir", "hypervisor/core/fuzz", "--target-dir"]).arg(&folder);
    run::long("building the fuzz targets", &mut command)?;
    let host = run::output(steps::cargo(project).arg("-vV"))?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).context("cargo names no host")?;
    Ok(folder.join(host).join("release"))
}

/// Fuzzes one target; the answer is its statistics. What it learns is kept for the next run.
fn fuzz(project: &Project, built: &Path, target: &str) -> Result<String> {
    let folder = project.target.join("fuzz");
    let corpus = folder.join("corpus").join(target);
    let artifacts = folder.join("artifacts").join(target);
    for path in [&corpus, &artifacts] {
        fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
    }
    let log = folder.join(format!("{target}.log"));
    let output = File::create(&log).with_context(|| format!("making {}", log.display()))?;
    let mut command = Command::new(built.join(target));
    command.args(["-seed=1", "-print_final_stats=1"]);
    command.arg(format!("-max_total_time={SECONDS}")).arg(format!("-timeout={INPUT_SECONDS}"));
    command.arg(format!("-max_len={INPUT_BYTES}"));
    command.arg(format!("-artifact_prefix={}/", artifacts.display())).arg(&corpus);
    if SEQUENCES.contains(&target) {
        let seeds = folder.join("seeds").join(target);
        plant(&seeds)?;
        command.arg("-len_control=0").arg(seeds);
    }
    command.stdout(output.try_clone()?).stderr(output);
    let status = run::status(&mut command)?;
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if !status.success() {
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
        bail!("{last}\n{target} ended with {status}; its input is in {}", artifacts.display());
    }
    statistics(&text).with_context(|| format!("{target} left no statistics in {}", log.display()))
}

/// Makes the inputs that sequences begin with, the same in every run.
fn plant(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    for (number, bytes) in seeds().enumerate() {
        let path = folder.join(format!("{number:02}"));
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Inputs without a plan, longer and longer.
fn seeds() -> impl Iterator<Item = Vec<u8>> {
    // Xorshift (Marsaglia, 2003).
    let mut state = 0x5eed_u64;
    let mut byte = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    };
    let length = |number| SEED_BYTES + (INPUT_BYTES - SEED_BYTES) * number / (SEEDS - 1);
    (0..SEEDS).map(move |number| (0..length(number)).map(|_| byte()).collect())
}

/// The last line about coverage, and the counts at the end.
fn statistics(text: &str) -> Option<String> {
    let covered = text.lines().rfind(|line| line.contains(" cov: "))?;
    let counts: Vec<&str> = text.lines().filter(|line| line.starts_with("stat::")).collect();
    (!counts.is_empty()).then(|| format!("{covered}\n{}", counts.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_found_at_the_end() {
        let text = "INFO: Seed: 1\n#2 INITED cov: 5 ft: 6\n#9 DONE cov: 7 ft: 9\nDone 9 runs\nstat::a: 1\nstat::b: 2\n";
        assert_eq!(statistics(text).as_deref(), Some("#9 DONE cov: 7 ft: 9\nstat::a: 1\nstat::b: 2"));
        assert_eq!(statistics("#2 INITED cov: 5 ft: 6\n"), None);
        assert_eq!(statistics("stat::a: 1\n"), None);
    }

    #[test]
    fn sequences_begin_with_inputs_of_every_length() {
        let seeds: Vec<Vec<u8>> = seeds().collect();
        assert_eq!((seeds.len(), seeds[0].len(), seeds[SEEDS - 1].len()), (SEEDS, SEED_BYTES, INPUT_BYTES));
        assert_ne!(seeds[0][..64], seeds[1][..64]);
        assert!(SEQUENCES.iter().all(|target| TARGETS.contains(target)));
    }

    #[test]
    fn all_targets_are_fuzzed() {
        assert_eq!(TARGETS, paravane_fuzz::TARGETS.map(|(name, _)| name));
    }
}
