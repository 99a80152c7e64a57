//! Mechanical faults: drawn from what cargo-mutants would change in the modules that guests reach.

use super::list::MECHANICAL;
use super::source::{self, Edit};
use crate::project::Project;
use crate::setup::{Bring, cargo_tool};
use crate::{digest, run};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;

/// `tests/mutants/mechanical.toml`: what is drawn from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// The modules.
    module: Vec<Module>,
    /// What of them is left out.
    excluded: Vec<Excluded>,
}

/// Files whose mutants are drawn.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Module {
    /// What the files' paths begin with; the longest counts.
    path: String,
    /// What names of cases contain that are likely to notice a mutant.
    filter: String,
}

/// Mutants that no guest can notice.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Excluded {
    /// What the file's path begins with.
    file: String,
    /// What the function's name, or the mutant's, contains.
    #[serde(default)]
    mutant: String,
    /// Why nobody can.
    reason: String,
}

/// A mutant as cargo-mutants lists it.
#[derive(Clone, Debug, Deserialize)]
pub struct Mutant {
    /// Where it is and what it does.
    pub name: String,
    file: String,
    span: Span,
    replacement: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Span {
    start: Point,
    end: Point,
}

#[derive(Clone, Debug, Deserialize)]
struct Point {
    line: usize,
    column: usize,
}

impl Mutant {
    /// Its name without the line and the column: `FILE: WHAT`.
    fn without_line(&self) -> String {
        let what = self.name.splitn(4, ':').nth(3).unwrap_or(&self.name);
        format!("{}:{what}", self.file)
    }

    /// The change of the file.
    pub fn edit(&self, project: &Project, number: u32) -> Result<Edit> {
        let text = fs::read_to_string(project.root.join(&self.file))
            .with_context(|| format!("reading {}", self.file))?;
        let at = |point: &Point| source::offset(&text, point.line, point.column);
        let place = at(&self.span.start).zip(at(&self.span.end)).map(|(start, end)| start..end);
        let place = place.with_context(|| format!("{} names a place that is not there", self.name))?;
        Ok(Edit { number, file: self.file.clone(), place, text: self.replacement.clone() })
    }
}

impl Rules {
    /// Reads the rules.
    pub fn read(project: &Project) -> Result<Self> {
        let path = project.root.join("tests/mutants").join(MECHANICAL);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("reading {}", path.display()))
    }

    fn module(&self, file: &str) -> Option<&Module> {
        let fitting = self.module.iter().filter(|module| file.starts_with(&module.path));
        fitting.max_by_key(|module| module.path.len())
    }

    /// Why a mutant is not drawn, if it is not.
    pub fn why_not(&self, mutant: &Mutant) -> Option<&str> {
        if self.module(&mutant.file).is_none() {
            return Some("it is in none of the modules");
        }
        let is = |rule: &&Excluded| mutant.file.starts_with(&rule.file) && mutant.name.contains(&rule.mutant);
        self.excluded.iter().find(is).map(|rule| rule.reason.as_str())
    }

    /// What names of cases contain that are likely to notice a mutant.
    pub fn filter(&self, mutant: &Mutant) -> &str {
        self.module(&mutant.file).map_or("", |module| &module.filter)
    }
}

/// All mutants that the rules allow, in an order that a seed decides. A mutant's place in it depends on what it does in which
/// file, not on the line, so that what else changes makes little difference.
pub fn drawn(project: &Project, bring: Bring, rules: &Rules, seed: u64) -> Result<Vec<Mutant>> {
    let tool = cargo_tool(project, bring, "cargo-mutants")?;
    let mut command = crate::test::mutants::tool(project, &tool)?;
    command.args(["--list", "--json"]);
    let text = run::output(&mut command)?;
    let all: Vec<Mutant> = serde_json::from_str(&text).context("reading cargo-mutants' list")?;
    Ok(ordered(all, rules, seed))
}

fn ordered(all: Vec<Mutant>, rules: &Rules, seed: u64) -> Vec<Mutant> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut keyed = Vec::new();
    for mutant in all.into_iter().filter(|mutant| rules.why_not(mutant).is_none()) {
        let what = mutant.without_line();
        let count = counts.entry(what.clone()).or_default();
        *count += 1;
        keyed.push((digest::of_bytes(format!("{seed} {what} {count}").as_bytes()), mutant));
    }
    keyed.sort_by(|(a, _), (b, _)| a.cmp(b));
    keyed.into_iter().map(|(_, mutant)| mutant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        toml::from_str(
            r#"
            [[module]]
            path = "a/"
            filter = "x"
            [[module]]
            path = "a/b.rs"
            filter = "y"
            [[excluded]]
            file = "a/"
            mutant = "in fmt"
            reason = "what is printed"
            "#,
        )
        .unwrap()
    }

    fn mutant(file: &str, name: &str) -> Mutant {
        let point = || Point { line: 1, column: 1 };
        Mutant {
            name: name.into(),
            file: file.into(),
            span: Span { start: point(), end: point() },
            replacement: String::new(),
        }
    }

    #[test]
    fn rules_choose_and_exclude() {
        let rules = rules();
        assert_eq!(rules.filter(&mutant("a/c.rs", "n")), "x");
        assert_eq!(rules.filter(&mutant("a/b.rs", "n")), "y");
        assert_eq!(rules.why_not(&mutant("a/b.rs", "n")), None);
        assert_eq!(rules.why_not(&mutant("a/b.rs", "replace + with - in fmt")), Some("what is printed"));
        assert!(rules.why_not(&mutant("c/b.rs", "n")).is_some());
    }

    #[test]
    fn a_seed_decides_the_order_and_nothing_else() {
        let all: Vec<Mutant> = (0..50).map(|n| mutant("a/c.rs", &format!("mutant {n}"))).collect();
        let names = |all: Vec<Mutant>, seed| {
            ordered(all, &rules(), seed).into_iter().map(|mutant| mutant.name).collect::<Vec<_>>()
        };
        let first = names(all.clone(), 1);
        assert_eq!(first, names(all.iter().rev().cloned().collect(), 1));
        let moved = ["a/c.rs:1:2: replace + with - in f", "a/c.rs:30:4: replace + with - in f"]
            .map(|name| mutant("a/c.rs", name).without_line());
        assert_eq!(moved, ["a/c.rs: replace + with - in f", "a/c.rs: replace + with - in f"]);
        assert_ne!(first, names(all.clone(), 2));
        let fewer: Vec<Mutant> = all.iter().filter(|mutant| mutant.name != first[0]).cloned().collect();
        assert_eq!(names(fewer, 1), first[1..]);
    }

    #[test]
    fn the_rules_of_the_repository_are_about_files_that_are_there() {
        let project = Project::find().unwrap();
        let rules = Rules::read(&project).unwrap();
        let paths = rules.module.iter().map(|module| &module.path);
        for path in paths.chain(rules.excluded.iter().map(|rule| &rule.file)) {
            assert!(project.root.join(path).exists(), "{path} is not there");
        }
        assert!(rules.excluded.iter().all(|rule| !rule.reason.is_empty()));
    }
}
