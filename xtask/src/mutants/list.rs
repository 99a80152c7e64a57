//! The listed faults: `tests/mutants/*.toml`.

use super::source::{self, Edit};
use crate::project::Project;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

/// Where the lists are.
const FOLDER: &str = "tests/mutants";
/// The one that is about mechanical faults.
pub const MECHANICAL: &str = "mechanical.toml";

/// A fault.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Its name.
    pub name: String,
    /// The hypercall, or what else of the interface it is in.
    pub family: String,
    /// What kind of fault: wrong code, missing check, ...
    pub kind: String,
    /// The file, as seen from the root.
    pub file: String,
    /// What stands there, once.
    pub original: String,
    /// What stands there instead.
    pub replacement: String,
    /// What names of cases contain that are likely to notice it. They are run first.
    pub filter: String,
    /// What a case must look at to notice it.
    pub noticed: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    fault: Vec<Fault>,
}

/// The lists' files, in order.
pub fn files(project: &Project) -> Result<Vec<PathBuf>> {
    let folder = project.root.join(FOLDER);
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads the lists.
pub fn read(project: &Project) -> Result<Vec<Fault>> {
    let mut faults: Vec<Fault> = Vec::new();
    for path in files(project)?.into_iter().filter(|path| !path.ends_with(MECHANICAL)) {
        let text = fs::read_to_string(&path)?;
        let list: List = toml::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
        faults.extend(list.fault);
    }
    let mut names = BTreeSet::new();
    for fault in &faults {
        ensure!(names.insert(&fault.name), "two faults are called {}", fault.name);
    }
    Ok(faults)
}

/// A listed fault as a change of its file.
pub fn edit(project: &Project, fault: &Fault, number: u32) -> Result<Edit> {
    let path = project.root.join(&fault.file);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let place =
        source::place_of(&text, &fault.original).with_context(|| format!("the fault {}", fault.name))?;
    Ok(Edit { number, file: fault.file.clone(), place, text: fault.replacement.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn project() -> Project {
        Project::find().unwrap()
    }

    #[test]
    fn the_list_fits_the_sources() {
        let project = project();
        let faults = read(&project).unwrap();
        assert!(faults.len() >= 60, "{} faults are listed", faults.len());
        let wrong: Vec<String> = faults
            .iter()
            .filter_map(|fault| edit(&project, fault, 1).err().map(|error| format!("{error:#}")))
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn every_fault_changes_a_source_of_the_hypervisors_and_says_who_would_notice() {
        for fault in read(&project()).unwrap() {
            let Fault { name, family, kind, file, original, replacement, noticed, .. } = &fault;
            assert!(file.starts_with("hypervisor/"), "{name}: {file}");
            assert_ne!(original, replacement, "{name}");
            assert!(!family.is_empty() && !kind.is_empty() && !noticed.is_empty(), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{name}");
        }
    }

    #[test]
    fn every_kind_of_fault_is_there_and_families_have_two() {
        let mut families: BTreeMap<String, usize> = BTreeMap::new();
        let mut kinds = BTreeSet::new();
        for fault in read(&project()).unwrap() {
            *families.entry(fault.family.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
            kinds.insert(fault.kind);
        }
        for kind in [
            "wrong code",
            "missing flush",
            "missing check",
            "off by one",
            "lost event",
            "leaked count",
            "wrong register",
        ] {
            assert!(kinds.contains(kind), "no fault is a {kind}");
        }
        for call in ["mmu_update", "mmuext_op", "event_channel_op", "grant_table_op", "memory_op", "vcpu_op"]
        {
            assert!(families.get(call).is_some_and(|count| *count >= 6), "{call}: {families:?}");
        }
    }
}
