//! `cargo xtask lab`: starts a lab in a copy of the project, and grades what became of it.

mod boot;
mod catalogue;
mod copy;
mod judge;
mod patch;
mod predict;
mod report;
mod tree;

use crate::project::Project;
use crate::setup::{Bring, toolchain};
use crate::{cli, run, setup, stop};
use anyhow::{Context, Result};
use catalogue::{Code, Kind, LABS, Lab};
use judge::Judge;
use paravane_tests::status::Status;
use report::Line;
use std::fs::File;
use std::path::{Path, PathBuf};
use tree::Tree;

/// Runs `lab`.
pub fn command(project: &Project, options: &cli::Lab) -> Result<Status> {
    let Some(number) = options.number.filter(|_| !options.list) else {
        LABS.iter().for_each(|lab| println!("{}  {:<32} labs/{}", lab.number, lab.title, lab.folder));
        return Ok(Status::Good);
    };
    let lab = catalogue::numbered(number)
        .ok_or_else(|| stop::usage(format!("there is no lab {number}; there are 1 to {}", LABS.len())))?;
    let default = || project.target.join("labs").join(number.to_string());
    let folder = options.folder.clone().unwrap_or_else(default);
    if options.reset {
        copy::discard(&folder, lab)?;
    }
    let answer = match &options.answer {
        None if options.solution => Some(copy::solution(project, lab)?),
        answer => answer.clone(),
    };
    match (&lab.kind, answer) {
        (Kind::Prediction, _) if options.answer.is_some() => {
            Err(stop::usage("a prediction is graded where it was sealed, not from a patch"))
        }
        (Kind::Prediction, _) => predict::command(project, lab, &folder, options),
        (Kind::Code(code), Some(answer)) => {
            let base = (copy::pristine(project, lab)?, copy::checks(project, lab)?);
            grade(project, options, lab, code, &base, &copy::answered(project, lab, &answer)?)
        }
        (Kind::Code(code), None) if copy::is_started(&folder, lab)? => {
            grade(project, options, lab, code, &copy::base(&folder)?, &tree::read(&folder)?)
        }
        (Kind::Code(_), None) => {
            copy::start(&folder, lab, &copy::pristine(project, lab)?, &copy::checks(project, lab)?)?;
            started(lab, &folder);
            Ok(Status::Good)
        }
    }
}

/// What a learner is told first.
fn started(lab: &Lab, folder: &Path) {
    let place = folder.display();
    println!("lab {}: {}", lab.number, lab.title);
    println!("your copy    {place}");
    println!("read first   {place}/LAB.md");
    println!("begin with   {place}/{}", lab.first);
    println!("grade it     cargo xtask lab {}   (as often as you like)", lab.number);
}

/// Grades one state of the files, with the beginning and the checks that belong to it.
fn grade(
    project: &Project,
    options: &cli::Lab,
    lab: &Lab,
    code: &Code,
    (pristine, checks): &(Tree, Tree),
    files: &Tree,
) -> Result<Status> {
    let bring = Bring::from_options(&options.setup);
    let _lock = lock(project)?;
    if !options.no_boot && code.boot.is_some() {
        let _lock = setup::lock(project)?;
        // Better to hear that something is missing before the build than behind it.
        toolchain::need(project, bring)?;
    }
    let judge = Judge { project, lab, code };
    let mut lines: Vec<Line> = Vec::new();
    if !code.on_skeleton.is_empty() {
        // The skeleton's hypervisor, of the learner's files the tests alone.
        let mut broken = pristine.clone();
        broken.extend(files.iter().filter(|(name, _)| code.own.contains(&name.as_str())).map(judge::cloned));
        lines.extend(judge.check(&judge.compose(pristine, &broken, checks)?, code.on_skeleton)?);
    }
    let composed = judge.compose(pristine, files, checks)?;
    lines.extend(judge.check(&composed, code.checks)?);
    if let Some(boot) = code.boot.as_ref().filter(|_| !options.no_boot) {
        lines.push(boot::check(&judge, bring, &composed, boot)?);
    }
    Ok(report::print(lab.number, &lines))
}

/// Keeps two grades from building in the same tree.
fn lock(project: &Project) -> Result<File> {
    let home: PathBuf = project.target.join("labs");
    std::fs::create_dir_all(&home).with_context(|| format!("making {}", home.display()))?;
    let file = File::create(home.join("lock")).context("opening the labs' lock")?;
    if file.try_lock().is_err() {
        run::say("waiting for another grade");
        file.lock().context("waiting for another grade")?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests;
