//! What cases there are, and what they leave out.

use crate::project::Project;
use anyhow::Result;
use conformance::case::{Kind, Rings};
use paravane_tests::conformance::catalogue::{Entry, Selection};
use paravane_tests::conformance::{Target, coverage, golden};
use paravane_tests::status::Status;

/// Lists the cases, or with `missing` the rows that lack some.
pub fn list(project: &Project, target: Target, selection: &Selection, missing: bool) -> Result<Status> {
    if missing {
        return self::missing(project, selection);
    }
    let cases = selection.on(target.machine);
    for entry in &cases {
        println!("{:<64} {:<12} {}", entry.name(), words(entry), entry.case.about);
    }
    println!("{} cases on {}", cases.len(), target.machine.name());
    Ok(Status::Good)
}

/// Role, kind and ring of a case, as far as they are not the common ones.
fn words(entry: &Entry) -> String {
    let kind = match entry.case.kind {
        Kind::Good => "",
        Kind::Refusal => " refusal",
        Kind::Fatal => " fatal",
    };
    let ring = match entry.case.rings {
        Rings::Both => "",
        Rings::Three(_) => " ring 3",
        Rings::One(_) => " ring 1",
    };
    format!("{}{kind}{ring}", entry.case.role.name())
}

fn missing(project: &Project, selection: &Selection) -> Result<Status> {
    let (wanted, rows) = (coverage::wanted(), conformance::rows::ALL.concat());
    let chosen =
        |name: &String| selection.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
    let mut lines: Vec<String> = coverage::lacking(&wanted, &rows)
        .into_iter()
        .filter(|(name, _)| chosen(name))
        .map(|(name, lack)| format!("{name:<48} {}", lack.text()))
        .collect();
    let goldens = golden::read(&project.root.join(golden::FOLDER))?;
    let claims = coverage::unconfirmed(&rows, &goldens).into_iter().filter(chosen);
    lines.extend(claims.map(|name| format!("{name:<48} `no_refusal`, which no golden confirms")));
    lines.iter().for_each(|line| println!("{line}"));
    println!("{} of {} rows lack something", lines.len(), wanted.len());
    Ok(if lines.is_empty() { Status::Good } else { Status::CheckFailed })
}
