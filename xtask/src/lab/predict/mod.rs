//! Lab 4: a prediction is sealed, then measured, then its misses are explained.

mod form;

use super::catalogue::Lab;
use super::copy;
use super::report::{self, Line};
use crate::project::Project;
use crate::{cli, compare, digest};
use anyhow::{Context, Result};
use form::{Counts, MACHINES, OPERATIONS, Prediction};
use paravane_tests::compare::operations::Machine;
use paravane_tests::compare::rows::Row;
use paravane_tests::status::Status;
use std::fs;
use std::path::Path;

/// The learner's.
const PREDICTION: &str = "prediction.txt";
const EXPLANATION: &str = "explanation.txt";
/// The grader's: the prediction as it was before the measurement, and the counts.
const SEALED: &str = "sealed.txt";
const COUNTED: &str = "counted.txt";

/// Runs lab 4.
pub fn command(project: &Project, lab: &Lab, folder: &Path, options: &cli::Lab) -> Result<Status> {
    if options.solution {
        return solution(project, lab, options);
    }
    if !copy::is_started(folder, lab)? {
        copy::start_with(folder, lab, project, &[("skeleton/prediction.txt", PREDICTION)])?;
        let place = folder.display();
        println!("lab {}: {}", lab.number, lab.title);
        println!("read first   {place}/LAB.md");
        println!("fill in      {place}/{PREDICTION}");
        println!("then         cargo xtask lab {}   (seals it, and measures)", lab.number);
        return Ok(Status::Good);
    }
    grade(project, lab, folder, options)
}

/// The solution in a folder of its own. The counts in its explanation are of the day.
fn solution(project: &Project, lab: &Lab, options: &cli::Lab) -> Result<Status> {
    let folder = project.target.join("labs").join(format!("{}-solution", lab.number));
    if folder.exists() {
        copy::discard(&folder, lab)?;
    }
    let from = |name: &str| format!("../solutions/{}/{name}", lab.folder);
    let files = [(from(PREDICTION), PREDICTION), (from(EXPLANATION), EXPLANATION)];
    copy::start_with(&folder, lab, project, &files)?;
    let text = read(&folder, PREDICTION)?;
    seal(&folder, &text)?;
    if let Some(counts) = counts(project, &folder, &digest::of_bytes(text.as_bytes()), options)? {
        let filled = fill(&read(&folder, EXPLANATION)?, &counts);
        fs::write(folder.join(EXPLANATION), filled)?;
    }
    grade(project, lab, &folder, options)
}

/// Replaces `MACHINE = @` by what was counted.
fn fill(text: &str, counts: &Counts) -> String {
    let mut operation = String::new();
    let line = |line: &str| {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            operation = name.to_owned();
        }
        let filled = line.strip_suffix(" = @").and_then(|name| {
            let (instructions, _) = counts.get(&(operation.clone(), Machine::named(name)?))?;
            Some(format!("{name} = {instructions}\n"))
        });
        filled.unwrap_or_else(|| format!("{line}\n"))
    };
    text.lines().map(line).collect()
}

fn read(folder: &Path, name: &str) -> Result<String> {
    let path = folder.join(name);
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

fn seal(folder: &Path, text: &str) -> Result<()> {
    let path = folder.join(SEALED);
    if !path.exists() {
        fs::write(path, format!("{}\n{text}", digest::of_bytes(text.as_bytes())))?;
    }
    Ok(())
}

fn grade(project: &Project, lab: &Lab, folder: &Path, options: &cli::Lab) -> Result<Status> {
    let text = read(folder, PREDICTION)?;
    let parsed = form::predictions(&text);
    let about = "each operation has an order, two numbers and a reason";
    let result = parsed.as_ref().map(|_| ()).map_err(Clone::clone);
    let mut lines = vec![Line::of("predicted", about, result, "LAB.md, Step 1")];
    let Ok(predictions) = parsed else { return Ok(report::print(lab.number, &lines)) };
    seal(folder, &text)?;
    let sealed = read(folder, SEALED)?;
    let seal = digest::of_bytes(text.as_bytes());
    let about = "the prediction is as it was before the measurement";
    let unchanged = if sealed == format!("{seal}\n{text}") {
        Ok(())
    } else {
        Err(format!("expected {PREDICTION} with the digest in {SEALED}, saw {seal}"))
    };
    lines.push(Line::of("sealed", about, unchanged.clone(), "LAB.md, Step 2; --reset begins anew"));
    if unchanged.is_err() {
        return Ok(report::print(lab.number, &lines));
    }
    println!("sealed {seal}");
    let about = "every operation was counted on every machine";
    let Some(counts) = counts(project, folder, &seal, options)? else {
        let why = "expected counts, saw none, and --no-boot makes none";
        lines.push(Line::failed("measured", about, why, "LAB.md, Step 2"));
        return Ok(report::print(lab.number, &lines));
    };
    lines.push(Line::ok("measured", about));
    show(&predictions, &counts);
    let explanation = folder.join(EXPLANATION);
    if !explanation.exists() {
        fs::write(&explanation, form::blank_explanation(&predictions, &counts))?;
        println!("now explain in {}", explanation.display());
    }
    let about = "half of the orders are right at least";
    let orders = form::orders(&predictions, &counts);
    lines.push(Line::of("orders", about, orders, "docs/machines.md; --reset begins anew"));
    let about = "each wrong order and the largest miss is explained by counts";
    let result = form::explained(&read(folder, EXPLANATION)?, &predictions, &counts);
    lines.push(Line::of("explained", about, result, "LAB.md, Step 3"));
    Ok(report::print(lab.number, &lines))
}

/// Predicted and counted, side by side.
fn show(predictions: &[Prediction], counts: &Counts) {
    for prediction in predictions {
        let operation = prediction.operation;
        let cell = |machine| counts.get(&(operation.to_owned(), machine)).copied().unwrap_or_default();
        let cells = MACHINES.map(|machine| format!("{} {}", machine.name(), cell(machine).0));
        let order = if prediction.wrong_pairs(counts).is_empty() { "right" } else { "wrong" };
        let (factor, counted) = (prediction.factor, prediction.counted_factor(counts));
        let (entries, entered) = (prediction.entries, cell(Machine::PvRing1).1);
        println!("{operation}: {}", cells.join(", "));
        println!("    order {order}");
        println!("    trap over native: predicted {factor}, counted {counted:.1}");
        println!("    entries on pv-ring1: predicted {entries}, counted {entered}");
    }
}

/// The counts that belong to this seal: those there are, or new ones.
fn counts(project: &Project, folder: &Path, seal: &str, options: &cli::Lab) -> Result<Option<Counts>> {
    let path = folder.join(COUNTED);
    if let Some(counts) = fs::read_to_string(&path).ok().and_then(|text| parse(&text, seal)) {
        return Ok(Some(counts));
    }
    if options.no_boot {
        return Ok(None);
    }
    let operations = compare::chosen_operations(&OPERATIONS.map(str::to_owned))?;
    let rows = compare::counted(project, &options.setup, options.no_build, &operations, &MACHINES)?;
    let line = |row: &Row| {
        let entries: u64 = row.counted.entries.values().sum();
        format!("{} {} {} {entries}\n", row.operation, row.machine.name(), row.instructions)
    };
    let lines = rows.iter().map(line);
    let text: String = std::iter::once(format!("{seal}\n")).chain(lines).collect();
    fs::write(&path, &text)?;
    parse(&text, seal)
        .context("a machine has not counted each operation: cargo xtask compare says why")
        .map(Some)
}

/// The counts, if they are of this seal and all there.
fn parse(text: &str, seal: &str) -> Option<Counts> {
    let mut lines = text.lines();
    if lines.next()? != seal {
        return None;
    }
    let mut counts = Counts::new();
    for line in lines {
        let mut words = line.split(' ');
        let (operation, machine) = (words.next()?.to_owned(), Machine::named(words.next()?)?);
        let cell = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        counts.insert((operation, machine), cell);
    }
    let is_there = |operation: &str| {
        MACHINES.iter().all(|machine| counts.contains_key(&(operation.to_owned(), *machine)))
    };
    OPERATIONS.into_iter().all(is_there).then_some(counts)
}

#[cfg(test)]
mod tests;
