//! What runs found out, kept so that one that was cut short goes on where it stopped.

use super::list;
use crate::digest;
use crate::project::Project;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// What became of a fault.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum End {
    /// A case noticed it.
    Caught {
        /// The case.
        by: String,
        /// What it noticed.
        how: String,
    },
    /// The suite ended as it does without it.
    Missed,
    /// It does not compile, which says nothing.
    Unviable,
}

/// The ends so far, by the faults' names.
pub struct Kept {
    path: PathBuf,
    ends: Mutex<BTreeMap<String, End>>,
    /// Misses of this run that another might catch.
    passing: Mutex<BTreeSet<String>>,
}

impl Kept {
    /// What earlier runs found out about the same hypervisor, faults and suite.
    pub fn open(project: &Project, suite: &Path) -> Result<Self> {
        let folder = project.target.join("faults");
        fs::create_dir_all(&folder)?;
        let path = folder.join(format!("kept-{}.json", &state(project, suite)?[..16]));
        let ends = match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).with_context(|| format!("reading {}", path.display()))?,
            Err(_) => BTreeMap::new(),
        };
        Ok(Self { path, ends: Mutex::new(ends), passing: Mutex::default() })
    }

    /// A fault's end, if it is known.
    pub fn get(&self, name: &str) -> Option<End> {
        let passing = self.passing.lock().ok()?.contains(name);
        if passing { Some(End::Missed) } else { self.ends.lock().ok()?.get(name).cloned() }
    }

    /// Keeps a fault's end. `whole`: all of the suite was run, so that a miss is one.
    pub fn put(&self, name: &str, end: End, whole: bool) -> Result<()> {
        if end == End::Missed && !whole {
            let mut passing = self.passing.lock().map_err(|_| anyhow::anyhow!("a worker panicked"))?;
            passing.insert(name.to_owned());
            return Ok(());
        }
        let mut ends = self.ends.lock().map_err(|_| anyhow::anyhow!("a worker panicked"))?;
        ends.insert(name.to_owned(), end);
        let new = self.path.with_extension("new");
        fs::write(&new, serde_json::to_string_pretty(&*ends)?)?;
        fs::rename(&new, &self.path).with_context(|| format!("writing {}", self.path.display()))
    }
}

/// A name for the state of everything that the ends depend on.
fn state(project: &Project, suite: &Path) -> Result<String> {
    let mut files = list::files(project)?;
    files.extend(["Cargo.toml", "Cargo.lock"].map(|name| project.root.join(name)));
    files.push(suite.to_path_buf());
    let mut folders = vec![project.root.join("hypervisor"), project.root.join("abi/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    let mut all = Vec::new();
    for file in files {
        all.extend(file.as_os_str().as_encoded_bytes());
        all.extend(fs::read(&file).with_context(|| format!("reading {}", file.display()))?);
    }
    Ok(digest::of_bytes(&all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_outlive_a_run() {
        let path = std::env::temp_dir().join(format!("kept-{}.json", std::process::id()));
        let kept = Kept { path: path.clone(), ends: Mutex::default(), passing: Mutex::default() };
        assert_eq!(kept.get("a"), None);
        let caught = End::Caught { by: "row/case".into(), how: "code: got 0, wanted -22".into() };
        kept.put("a", caught.clone(), false).unwrap();
        kept.put("b", End::Missed, true).unwrap();
        kept.put("c", End::Missed, false).unwrap();
        assert_eq!(kept.get("c"), Some(End::Missed));
        let read: BTreeMap<String, End> = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!((read.get("a"), read.get("b")), (Some(&caught), Some(&End::Missed)));
        assert_eq!(read.get("c"), None, "a run of a part says nothing of a miss");
        fs::remove_file(&path).unwrap();
    }
}
