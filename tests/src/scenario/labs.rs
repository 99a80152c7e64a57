//! The labs: a copy as a learner gets it fails every check, the solution passes all, and answers that are nearly right
//! fail the check that is about what they lack.

use super::conformance::turn;
use super::{Context, LIMIT, Outcome};
use crate::driver::{Driver, Stdin, shell_status};
use crate::source;
use anyhow::{Context as _, Result, bail, ensure};
use std::path::Path;

/// Labs whose answer is code.
const CODE: usize = 3;

/// What a grade said.
struct Graded {
    status: i32,
    ok: Vec<String>,
    failed: Vec<String>,
    tail: String,
}

/// Another lab with each commit, without its boot; and what of the last one needs none.
pub fn in_turn(context: &Context) -> Result<Outcome> {
    let lab = turn()? % CODE + 1;
    let checks = whole(context, lab, &["--no-boot"])?;
    refuses_a_blank_form(context)?;
    Ok(Outcome::Passed(format!("lab {lab} of 1 to {CODE}: {checks} checks fail, then pass")))
}

/// Lab 1 with its boot.
pub fn first(context: &Context) -> Result<Outcome> {
    complete(context, 1)
}

/// Lab 2, which boots nothing.
pub fn second(context: &Context) -> Result<Outcome> {
    complete(context, 2)
}

/// Lab 3 with its boot.
pub fn third(context: &Context) -> Result<Outcome> {
    complete(context, 3)
}

/// Lab 4: a blank form is not sealed, the solution is sealed, measured and explained.
pub fn fourth(context: &Context) -> Result<Outcome> {
    refuses_a_blank_form(context)?;
    let solved = graded(context, 4, &["--solution", "--no-build"])?;
    ensure!(solved.status == 0 && solved.failed.is_empty(), "the solution fails:\n{}", solved.tail);
    ensure!(solved.ok.len() == 5, "{} checks passed: {:?}", solved.ok.len(), solved.ok);
    tampered(context)?;
    Ok(Outcome::Passed("sealed, measured, explained; a prediction that was changed later is refused".into()))
}

fn complete(context: &Context, lab: usize) -> Result<Outcome> {
    let checks = whole(context, lab, &[])?;
    let wrong = wrong_answers(context, lab)?;
    Ok(Outcome::Passed(format!(
        "{checks} checks fail, then pass; {wrong} answers that are nearly right fail"
    )))
}

/// The skeleton, then the solution.
fn whole(context: &Context, lab: usize, options: &[&str]) -> Result<usize> {
    let folder = fresh(context, lab)?;
    let place = ["--folder", &folder];
    let started = graded(context, lab, &place)?;
    ensure!(started.status == 0, "starting lab {lab} ended with {}:\n{}", started.status, started.tail);
    let blank = graded(context, lab, &[&place, options].concat())?;
    ensure!(blank.status == 1, "the skeleton's grade ended with {}:\n{}", blank.status, blank.tail);
    ensure!(blank.ok.is_empty(), "the skeleton passes {:?}", blank.ok);
    ensure!(!blank.failed.iter().any(|name| name == "compiles"), "it does not compile:\n{}", blank.tail);
    let solved = graded(context, lab, &[&["--solution"], options].concat())?;
    ensure!(solved.status == 0 && solved.failed.is_empty(), "the solution fails:\n{}", solved.tail);
    ensure!(solved.ok == blank.failed, "other checks: {:?}, then {:?}", blank.failed, solved.ok);
    std::fs::remove_dir_all(&folder)?;
    Ok(solved.ok.len())
}

/// Answers in `labs/solutions/wrong`, `LAB.CHECK.patch`: each fails that check, and not for want of compiling.
fn wrong_answers(context: &Context, lab: usize) -> Result<usize> {
    let folder = source::root().join("labs/solutions/wrong");
    let mut tried = 0;
    for path in source::files(&folder, &[".patch"]) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut parts = name.split('.');
        if parts.next() != Some(lab.to_string().as_str()) {
            continue;
        }
        let check = parts.next().with_context(|| format!("{name} names no check"))?;
        let answer = path.to_str().context("a path is text")?;
        let graded = graded(context, lab, &["--no-boot", "--answer", answer])?;
        let fails = graded.failed.iter().any(|name| name == check);
        ensure!(graded.status == 1 && fails, "{name} fails {:?}:\n{}", graded.failed, graded.tail);
        ensure!(!graded.ok.is_empty(), "{name} is not nearly right:\n{}", graded.tail);
        tried += 1;
    }
    Ok(tried)
}

fn refuses_a_blank_form(context: &Context) -> Result<()> {
    let folder = fresh(context, 4)?;
    let place = ["--folder", folder.as_str()];
    ensure!(graded(context, 4, &place)?.status == 0, "lab 4 does not start");
    let blank = graded(context, 4, &place)?;
    ensure!(blank.status == 1 && blank.failed == ["predicted"], "a blank form:\n{}", blank.tail);
    ensure!(!Path::new(&folder).join("sealed.txt").exists(), "a blank form was sealed");
    Ok(())
}

/// The solution's prediction, changed when its counts are known.
fn tampered(context: &Context) -> Result<()> {
    let target = context.target().context("the images lie in a target folder")?;
    let folder = target.join("labs/4-solution");
    let path = folder.join("prediction.txt");
    let text = std::fs::read_to_string(&path)?;
    std::fs::write(&path, text.replacen("trap-over-native = ", "trap-over-native = 1", 1))?;
    let graded = graded(context, 4, &["--folder", folder.to_str().context("a path is text")?])?;
    ensure!(graded.status == 1 && graded.failed == ["sealed"], "a changed prediction:\n{}", graded.tail);
    Ok(())
}

/// A folder for a copy, which is not there yet.
fn fresh(context: &Context, lab: usize) -> Result<String> {
    let folder = context.scratch.join(format!("lab-{lab}"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(folder.to_str().context("a path is text")?.to_owned())
}

/// Runs `cargo xtask lab`.
fn graded(context: &Context, lab: usize, options: &[&str]) -> Result<Graded> {
    let number = lab.to_string();
    let arguments = [&["lab", &number, "--no-setup"], options].concat();
    let mut driver = Driver::start(context.command(&arguments), Stdin::Null)?;
    let status = shell_status(driver.finish(LIMIT)?);
    if !(0..=1).contains(&status) {
        bail!("lab {lab} {options:?} ended with status {status}:\n{}", driver.tail());
    }
    let lines = driver.console.lines();
    let names = |word: &str| {
        let begin = format!("{word} lab{lab}.");
        let rest = lines.iter().filter_map(|line| line.strip_prefix(&begin));
        rest.filter_map(|rest| rest.split(' ').next()).map(str::to_owned).collect()
    };
    Ok(Graded { status, ok: names("ok"), failed: names("FAILED"), tail: lines.join("\n") })
}
