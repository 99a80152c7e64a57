//! Grading code: the learner's files and the lab's checks in one tree, built and run.
//!
//! The tree is the same for all labs and every grade, and files that did not change are not written, so that a grade
//! is a small build. Tests and tools in it are the project's: what a learner did to those counts for nothing.

use super::catalogue::{Check, Code, Lab};
use super::report::Line;
use super::tree::{self, Tree};
use crate::project::Project;
use crate::{build, run};
use anyhow::{Context, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The checks take seconds; a loop that never ends takes longer.
const LIMIT: Duration = Duration::from_secs(300);

/// The crate that the checks are tests of.
const CRATE: &str = "paravane-core";

/// What grades code.
pub struct Judge<'a> {
    /// The project, whose target folder the tree lies in.
    pub project: &'a Project,
    /// The lab.
    pub lab: &'a Lab,
    /// How it is graded.
    pub code: &'a Code,
}

impl Judge<'_> {
    /// Where the tree and its builds are.
    pub fn place(&self) -> Project {
        let home = self.project.target.join("labs").join("grade");
        Project { root: home.join("tree"), target: home.join("build"), cache: self.project.cache.clone() }
    }

    /// The tree to be built: the learner's files, but for tests and tools, and the checks. `pristine` is the
    /// lab's beginning, `with` what is to be graded.
    pub fn compose(&self, pristine: &Tree, with: &Tree, checks: &Tree) -> Result<Tree> {
        let own = |name: &str| self.code.own.contains(&name);
        let mut composed: Tree =
            pristine.iter().filter(|(name, _)| is_the_projects(name)).map(cloned).collect();
        composed.extend(with.iter().filter(|(name, _)| !is_the_projects(name) || own(name)).map(cloned));
        composed.extend(checks.iter().map(cloned));
        for (file, line) in self.code.hooks {
            let text = composed.get_mut(*file).with_context(|| format!("there is no {file}"))?;
            text.extend_from_slice(format!("\n{line}\n").as_bytes());
        }
        Ok(composed)
    }

    /// Writes the tree, builds the checks and runs these of them.
    pub fn check(&self, composed: &Tree, checks: &[Check]) -> Result<Vec<Line>> {
        if checks.is_empty() {
            return Ok(Vec::new());
        }
        let place = self.place();
        tree::sync(&place.root, composed)?;
        run::say(format_args!("building and running the checks of lab {}", self.lab.number));
        match build(&place)? {
            Ok(program) => {
                let module = self.code.module;
                Ok(judged(&run_tests(&place, &program, module)?, module, checks))
            }
            Err(errors) => {
                let what = "the hypervisor compiles";
                Ok(vec![Line::failed("compiles", what, errors, "the compiler's message")])
            }
        }
    }
}

pub fn cloned((name, bytes): (&String, &Vec<u8>)) -> (String, Vec<u8>) {
    (name.clone(), bytes.clone())
}

/// Whether a file is no part of an answer: tests, tools, and what says how all is built.
fn is_the_projects(name: &str) -> bool {
    let mut folders = name.split('/').rev().skip(1);
    folders.any(|folder| matches!(folder, "tests" | "xtask" | ".cargo"))
        || !name.contains('/')
        || name.ends_with("Cargo.toml")
        || name.ends_with("build.rs")
}

/// Builds the checks: the program that runs them, or the compiler's errors.
fn build(place: &Project) -> Result<Result<PathBuf, String>> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&place.root).arg("test").arg("--target-dir").arg(&place.target);
    command.args(["--package", CRATE, "--lib", "--profile", "mutants", "--no-run", "--quiet"]);
    command.arg("--message-format=json-render-diagnostics").env("CARGO_TERM_COLOR", "never");
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {}", run::shown(&command)))?;
    if !done.status.success() {
        return Ok(Err(errors(&String::from_utf8_lossy(&done.stderr))));
    }
    let made = build::executables(&String::from_utf8_lossy(&done.stdout))?;
    let program = made.get(&CRATE.replace('-', "_")).context("cargo built no tests")?;
    Ok(Ok(program.clone()))
}

/// Runs the tests of the module of checks, one after the other so that their words are not mixed, and gives all that was said.
fn run_tests(place: &Project, program: &Path, module: &str) -> Result<String> {
    let path = place.target.join("checks.txt");
    let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
    let mut command = Command::new(program);
    command.current_dir(&place.root).args([module, "--test-threads", "1"]).env("RUST_BACKTRACE", "0");
    command.stdin(Stdio::null()).stderr(file.try_clone()?).stdout(file);
    let mut child = command.spawn().with_context(|| format!("starting {}", run::shown(&command)))?;
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// What libtest said of each check. One that it says nothing of has failed: silence is no success.
fn judged(text: &str, module: &str, checks: &[Check]) -> Vec<Line> {
    let line = |check: &Check| {
        let test = format!("{module}::{}", check.name);
        let result = match verdict(text, &test) {
            Some(true) => Ok(()),
            Some(false) => Err(panicked(text, &test)),
            None => Err(format!("it did not come to an end; said last:\n{}", tail(text))),
        };
        Line::of(check.name, check.about, result, check.read)
    };
    checks.iter().map(line).collect()
}

/// The end of this test, by its whole path: the learner's crate may have others of the same name. Of two ends one is not
/// libtest's, and neither is believed.
fn verdict(text: &str, test: &str) -> Option<bool> {
    let begin = format!("test {test} ... ");
    let mut ends = text.lines().filter_map(|line| line.strip_prefix(&begin));
    match (ends.next(), ends.next()) {
        (Some("ok"), None) => Some(true),
        (Some("FAILED"), None) => Some(false),
        _ => None,
    }
}

/// What a test said when it failed.
fn panicked(text: &str, test: &str) -> String {
    let header = format!("---- {test} stdout ----");
    let said = text.lines().skip_while(|line| *line != header).skip(1);
    let said = said.take_while(|line| !line.starts_with("---- ") && *line != "failures:");
    let said = said.filter(|line| !line.starts_with("note: ") && !line.is_empty());
    let said: Vec<&str> = said.filter(|line| !line.contains(" panicked at ")).take(12).collect();
    if said.is_empty() { "it failed without a word".to_owned() } else { said.join("\n") }
}

/// The first errors of a compiler.
fn errors(text: &str) -> String {
    let from = text.lines().skip_while(|line| !line.starts_with("error"));
    from.take(30).collect::<Vec<_>>().join("\n")
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "
running 3 tests
test calls::tests::lab_check::good ... ok
test calls::tests::lab_check::bad ... FAILED
test calls::tests::lab_check::worse ... FAILED

failures:

---- calls::tests::lab_check::bad stdout ----

thread 'calls::tests::lab_check::bad' (7) panicked at a.rs:1:2:
expected 1, saw 2
note: run with `RUST_BACKTRACE=1`

---- calls::tests::lab_check::worse stdout ----

failures:
    calls::tests::lab_check::bad
";

    const MODULE: &str = "calls::tests::lab_check";

    const CHECKS: [Check; 4] = [
        Check { name: "good", about: "", read: "" },
        Check { name: "bad", about: "", read: "the manual" },
        Check { name: "worse", about: "", read: "" },
        Check { name: "absent", about: "", read: "" },
    ];

    #[test]
    fn what_tests_said_is_understood() {
        let lines = judged(SAID, MODULE, &CHECKS);
        assert_eq!(lines[0].failed, None);
        assert_eq!(lines[1].failed, Some(("expected 1, saw 2".into(), "the manual".into())));
        assert_eq!(lines[2].failed.as_ref().unwrap().0, "it failed without a word");
        assert!(lines[3].failed.as_ref().unwrap().0.starts_with("it did not come to an end"));
    }

    /// A test of the same name elsewhere, and a line that is printed by what is tested.
    #[test]
    fn a_check_passes_by_its_own_end_alone() {
        let elsewhere = format!("test calls::ring1::lab_check::bad ... ok\n{SAID}");
        assert!(judged(&elsewhere, MODULE, &CHECKS)[1].failed.is_some());
        let elsewhere = format!("test calls::ring1::{MODULE}::absent ... ok\n{SAID}");
        assert!(judged(&elsewhere, MODULE, &CHECKS)[3].failed.is_some());
        let printed = format!("test {MODULE}::bad ... ok\n{SAID}");
        assert!(judged(&printed, MODULE, &CHECKS)[1].failed.is_some());
    }

    #[test]
    fn the_first_errors_are_shown() {
        assert_eq!(
            errors("warning: x\nerror[E0425]: no such name\n --> a.rs\n"),
            "error[E0425]: no such name\n --> a.rs"
        );
    }

    #[test]
    fn tests_and_tools_are_not_the_learners() {
        for name in [
            "Cargo.lock",
            "abi/tests/table.rs",
            "xtask/src/main.rs",
            "abi/Cargo.toml",
            "tests/src/lib.rs",
            "hypervisor/core/src/calls/tests/world.rs",
            ".cargo/config.toml",
        ] {
            assert!(is_the_projects(name), "{name}");
        }
        for name in ["abi/src/lib.rs", "hypervisor/core/src/tests.rs", "pv-guest/src/lab.rs"] {
            assert!(!is_the_projects(name), "{name}");
        }
    }
}
