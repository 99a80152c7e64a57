//! `cargo xtask mutants`: plants faults in the hypervisor, one at a time, and runs the conformance suite on each.
//!
//! All faults are compiled into one image, each in a copy of its function (`source`); an image that has one of them is made
//! by writing the fault's number into it. Those that cannot be had so are built alone.

mod kept;
mod list;
mod mechanical;
mod run;
mod source;
mod tree;

use crate::project::Project;
use crate::setup::toolchain::{self, Toolchain};
use crate::setup::{self, Bring};
use crate::{build, cli, run as programs};
use anyhow::{Context, Result, ensure};
use kept::{End, Kept};
use mechanical::{Mutant, Rules};
use paravane_tests::conformance;
use paravane_tests::status::Status;
use source::Edit;
use std::collections::BTreeSet;
use tree::Tree;

/// The least share of mechanical faults that is caught, in percent.
const LEAST: usize = 80;

/// A fault, wherever it comes from.
#[derive(Clone, Debug)]
struct Candidate {
    /// What it is called.
    name: String,
    /// In the list, as against drawn.
    listed: bool,
    /// The part of the interface it is in, and the kind of fault.
    what: String,
    /// What names of cases contain that are likely to notice it.
    filter: String,
    /// What a case must look at to notice it, where somebody has thought of that.
    noticed: String,
    /// The change.
    edit: Edit,
}

/// A sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Score {
    caught: usize,
    missed: usize,
    unviable: usize,
}

impl Score {
    fn of<'a>(ends: impl Iterator<Item = &'a End>) -> Self {
        ends.fold(Self::default(), |mut score, end| {
            match end {
                End::Caught { .. } => score.caught += 1,
                End::Missed => score.missed += 1,
                End::Unviable => score.unviable += 1,
            }
            score
        })
    }

    fn percent(self) -> usize {
        (self.caught * 100).checked_div(self.caught + self.missed).unwrap_or(100)
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} caught, {} missed, {} %", self.caught, self.missed, self.percent())
    }
}

/// Runs `mutants`.
pub fn command(project: &Project, options: &cli::Mutants) -> Result<Status> {
    let bring = Bring::from_options(&options.setup);
    let toolchain = {
        let _lock = setup::lock(project)?;
        setup::qemu::need(project, bring)?;
        toolchain::need(project, bring)?
    };
    if options.no_build {
        build::made(project)?;
    } else {
        build::all(project, bring)?;
    }
    let ended = ends(project, &toolchain, bring, options)?;
    for (fault, end) in &ended {
        println!("{}", line(fault, end));
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&json(&ended))?;
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(if sums(&ended) { Status::Good } else { Status::CheckFailed })
}

/// All of it, as a step of the tests.
pub fn check(project: &Project, bring: Bring) -> Result<()> {
    let toolchain = {
        let _lock = setup::lock(project)?;
        setup::qemu::need(project, bring)?;
        toolchain::need(project, bring)?
    };
    build::all(project, bring)?;
    let ended = ends(project, &toolchain, bring, &cli::Mutants::default())?;
    for (fault, end) in ended.iter().filter(|(_, end)| !matches!(end, End::Caught { .. })) {
        println!("{}", line(fault, end));
    }
    ensure!(sums(&ended), "the suite does not notice enough of the faults");
    Ok(())
}

/// Prints the sums; whether they are good enough.
fn sums(ended: &[(Candidate, End)]) -> bool {
    let score =
        |listed| Score::of(ended.iter().filter(|(fault, _)| fault.listed == listed).map(|(_, end)| end));
    let (listed, mechanical) = (score(true), score(false));
    println!("mutants: listed {listed}; mechanical {mechanical}");
    listed.missed == 0 && listed.unviable == 0 && mechanical.percent() >= LEAST
}

fn line(fault: &Candidate, end: &End) -> String {
    let Candidate { name, what, noticed, .. } = fault;
    match end {
        End::Caught { by, how } => format!("caught  {name} ({what}) by {by}: {how}"),
        End::Missed if noticed.is_empty() => format!("MISSED  {name} ({what})"),
        End::Missed => format!("MISSED  {name} ({what}); a case could see: {noticed}"),
        End::Unviable => format!("unviable {name} ({what})"),
    }
}

fn json(ended: &[(Candidate, End)]) -> serde_json::Value {
    let one = |(fault, end): &(Candidate, End)| {
        let (outcome, by) = match end {
            End::Caught { by, .. } => ("caught", Some(by)),
            End::Missed => ("missed", None),
            End::Unviable => ("unviable", None),
        };
        let origin = if fault.listed { "listed" } else { "mechanical" };
        serde_json::json!({
            "fault": fault.name, "origin": origin, "what": fault.what, "outcome": outcome, "by": by,
        })
    };
    ended.iter().map(one).collect()
}

/// The faults that were asked for, and what became of each.
fn ends(
    project: &Project,
    toolchain: &Toolchain,
    bring: Bring,
    options: &cli::Mutants,
) -> Result<Vec<(Candidate, End)>> {
    let both = !options.listed && !options.mechanical;
    let wanted = |name: &str| options.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
    let mut faults = Vec::new();
    if options.listed || both {
        faults
            .extend(listed(project)?.into_iter().filter(|fault| wanted(&fault.name) || wanted(&fault.what)));
    }
    let mut reserve = Vec::new();
    let mut rules = None;
    if options.mechanical || both {
        let read = Rules::read(project)?;
        reserve = mechanical::drawn(project, bring, &read, options.seed)?;
        reserve.retain(|mutant| wanted(&mutant.name));
        reserve.reverse();
        rules = Some(read);
    }
    let suite = build::images(project).join(conformance::IMAGE);
    let kept = Kept::open(project, &suite)?;
    let mut ended: Vec<(Candidate, End)> = Vec::new();
    loop {
        if let Some(rules) = &rules {
            let viable = ended.iter().filter(|(fault, end)| !fault.listed && *end != End::Unviable).count();
            let mut missing = options.count.saturating_sub(viable);
            while missing > 0
                && let Some(mutant) = reserve.pop()
            {
                faults.push(candidate(project, rules, &mutant, (1 + ended.len() + faults.len()) as u32)?);
                missing -= 1;
            }
        }
        if faults.is_empty() {
            return Ok(ended);
        }
        let next = std::mem::take(&mut faults);
        ended.extend(try_all(project, toolchain, &kept, next, options.quick)?);
    }
}

fn listed(project: &Project) -> Result<Vec<Candidate>> {
    let faults = list::read(project)?;
    (1..)
        .zip(&faults)
        .map(|(number, fault)| {
            Ok(Candidate {
                name: fault.name.clone(),
                listed: true,
                what: format!("{}: {}", fault.family, fault.kind),
                filter: fault.filter.clone(),
                noticed: fault.noticed.clone(),
                edit: list::edit(project, fault, number)?,
            })
        })
        .collect()
}

fn candidate(project: &Project, rules: &Rules, mutant: &Mutant, number: u32) -> Result<Candidate> {
    Ok(Candidate {
        name: mutant.name.clone(),
        listed: false,
        what: "mechanical".into(),
        filter: rules.filter(mutant).to_owned(),
        noticed: String::new(),
        // Numbers of listed faults end below.
        edit: mutant.edit(project, 0x1_0000 + number)?,
    })
}

/// Tries these faults, but those of which the end is known.
fn try_all(
    project: &Project,
    toolchain: &Toolchain,
    kept: &Kept,
    faults: Vec<Candidate>,
    quick: bool,
) -> Result<Vec<(Candidate, End)>> {
    let open: Vec<&Candidate> = faults.iter().filter(|fault| kept.get(&fault.name).is_none()).collect();
    if !open.is_empty() {
        programs::say(format_args!(
            "planting {} faults; the ends of {} are known",
            open.len(),
            faults.len() - open.len()
        ));
        let tree = Tree::new(project, toolchain)?;
        let together = tree.together(&open.iter().map(|fault| &fault.edit).collect::<Vec<_>>())?;
        let apart: BTreeSet<&str> = open
            .iter()
            .filter(|fault| !together.inside.contains(&fault.edit.number))
            .map(|fault| fault.name.as_str())
            .collect();
        programs::say(format_args!(
            "  {} together, {} to be built alone",
            together.inside.len(),
            apart.len()
        ));
        apart.iter().for_each(|name| programs::say(format_args!("    {name}")));
        run::Run::new(project, &tree, &together, kept, quick)?.all(&open)?;
    }
    faults
        .into_iter()
        .map(|fault| {
            let end = kept.get(&fault.name).with_context(|| format!("{} was not tried", fault.name))?;
            Ok((fault, end))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(name: &str, listed: bool) -> Candidate {
        Candidate {
            name: name.into(),
            listed,
            what: "set_gdt: off by one".into(),
            filter: String::new(),
            noticed: String::new(),
            edit: Edit { number: 1, file: String::new(), place: 0..0, text: String::new() },
        }
    }

    fn caught() -> End {
        End::Caught { by: "set_gdt/limit".into(), how: "failure".into() }
    }

    #[test]
    fn every_listed_fault_and_four_of_five_others_must_be_caught() {
        let mut ended = vec![(fault("a", true), caught())];
        for n in 0..10 {
            let end = if n < 8 { caught() } else { End::Missed };
            ended.push((fault(&format!("m{n}"), false), end));
        }
        ended.push((fault("u", false), End::Unviable));
        assert!(sums(&ended));
        ended[1].1 = End::Missed;
        assert!(!sums(&ended), "seven of ten");
        ended[1].1 = caught();
        ended[0].1 = End::Missed;
        assert!(!sums(&ended), "a listed one");
        ended[0].1 = End::Unviable;
        assert!(!sums(&ended), "a listed one that does not compile");
    }

    #[test]
    fn faults_are_told_one_by_one() {
        assert_eq!(
            line(&fault("gdt-limit", true), &caught()),
            "caught  gdt-limit (set_gdt: off by one) by set_gdt/limit: failure"
        );
        let score = Score { caught: 3, missed: 1, unviable: 2 };
        assert_eq!(score.to_string(), "3 caught, 1 missed, 75 %");
        let json = json(&[(fault("a", false), End::Missed)]);
        assert_eq!(json[0]["outcome"], "missed");
        assert_eq!(json[0]["origin"], "mechanical");
    }
}
