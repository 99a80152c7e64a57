//! The store: Debian packages fetched and unpacked under the user's cache folder, each set in a folder of its
//! own with a record of what is in it. A set is used only if its record is whole, and needs no network then.

use super::apt::{Apt, View};
use super::index::{Archive, Package, numbers};
use crate::project::Project;
use crate::{digest, run, stop};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a set is made of.
#[derive(Clone, Copy, Debug)]
pub struct Set {
    /// The folder's name.
    pub name: &'static str,
    /// What it is for, said when it is fetched.
    pub purpose: &'static str,
    /// The packages asked for.
    pub packages: &'static [&'static str],
    /// Whether the packages' dependencies are unpacked too, as far as the system lacks them.
    pub closure: bool,
    /// Fetched although the system has them installed: packages whose name has this in it.
    pub family: Option<&'static str>,
    /// Of the closure, only packages whose name begins with this, whether or not the system has them.
    pub only: Option<&'static str>,
    /// The lowest version of the first package that serves.
    pub at_least: Option<&'static str>,
    /// Files whose content is checked at each use, relative to the set's folder.
    pub checked: &'static [&'static str],
}

/// The folder that holds a set's files: a tree as it would lie under `/`.
pub fn folder(project: &Project, set: &Set) -> PathBuf {
    project.cache.join("unpacked").join(set.name)
}

/// The value of `LD_LIBRARY_PATH` with which a set's programs find the libraries unpacked with them. Debian
/// 12's packages name `/lib` and `/usr/lib` as if they were two, which on an installed system they are not.
pub fn libraries(root: &Path) -> String {
    let folder = |prefix: &str| root.join(prefix).join("x86_64-linux-gnu").display().to_string();
    [folder("usr/lib"), folder("lib")].join(":")
}

fn record_path(project: &Project, set: &Set) -> PathBuf {
    project.cache.join("unpacked").join(format!("{}.record", set.name))
}

/// The set's folder, if it is there and whole.
pub fn present(project: &Project, set: &Set) -> Option<PathBuf> {
    let folder = folder(project, set);
    let record = fs::read_to_string(record_path(project, set)).ok()?;
    match check(&folder, set, &record) {
        Ok(()) => Some(folder),
        Err(error) => {
            run::say(format_args!("{} in the cache folder is not as it was fetched: {error:#}", set.name));
            None
        }
    }
}

/// Compares the files on the disk with the record of when they were unpacked.
fn check(folder: &Path, set: &Set, record: &str) -> Result<()> {
    for file in set.checked {
        let wanted = recorded(record, file).with_context(|| format!("{file} is not in the record"))?;
        let found = digest::of_file(&folder.join(file))?;
        if found != wanted {
            bail!("{file} has digest {found}, not {wanted}");
        }
    }
    if !folder.is_dir() {
        bail!("{} is gone", folder.display());
    }
    Ok(())
}

/// A record's lines are `file DIGEST PATH` and `package DIGEST NAME VERSION`.
fn recorded<'a>(record: &'a str, file: &str) -> Option<&'a str> {
    record.lines().find_map(|line| {
        let (digest, path) = line.strip_prefix("file ")?.split_once(' ')?;
        (path == file).then_some(digest)
    })
}

/// Brings a set: plans, downloads, checks digests, unpacks beside the final place and renames.
pub fn bring(project: &Project, apt: &Apt, set: &Set) -> Result<PathBuf> {
    run::say(format_args!("{} is fetched: {}", set.name, set.purpose));
    let mut files = match plan(apt, set) {
        Ok(files) => files,
        Err(_) => {
            run::say("  the lists that this machine has do not serve");
            apt.update()?;
            plan(apt, set)
                .map_err(|error| stop::missing(format!("{}: {error:#}", set.packages.join(", ")), ROUTES))?
        }
    };
    let debs = project.cache.join("debs");
    fs::create_dir_all(&debs).with_context(|| format!("making {}", debs.display()))?;
    if let Err(first) = fetch(apt, set, &files, &debs) {
        // A mirror drops a file when a newer version comes: the lists then name what is gone.
        run::say(format_args!("  download failed ({first:#}); trying again with fresh lists"));
        apt.update()?;
        files = plan(apt, set)?;
        fetch(apt, set, &files, &debs)?;
    }
    let folder = unpack(project, set, &files, &debs)?;
    for file in &files {
        fs::remove_file(debs.join(&file.file)).with_context(|| format!("removing {}", file.file))?;
    }
    Ok(folder)
}

/// What else a user can do where apt cannot bring something.
pub const ROUTES: &str = "a Debian 12 system with network, or the container image: \
                          podman build -t paravane . && podman run --rm -it -v \"$PWD\":/paravane paravane";

fn plan(apt: &Apt, set: &Set) -> Result<Vec<Archive>> {
    let mut names: Vec<String> = set.packages.iter().map(|&name| name.to_owned()).collect();
    if set.closure {
        let view = if set.only.is_some() { View::Empty } else { View::Installed };
        let mut packages = apt.closure(set.packages, view)?;
        packages.retain(|package| set.only.is_none_or(|start| package.name.starts_with(start)));
        if let Some(family) = set.family {
            let all = apt.closure(set.packages, View::Empty)?;
            packages.extend(all.into_iter().filter(|package| package.name.contains(family)));
        }
        packages.sort();
        packages.dedup();
        if packages.is_empty() {
            bail!("apt plans nothing for {}", set.packages.join(" "));
        }
        names = packages.iter().map(Package::pinned).collect();
    }
    let files = apt.files(&names)?;
    if let Some(least) = set.at_least {
        let name = set.packages[0];
        let found = files.iter().find(|file| file.package.name == name);
        let found = found.with_context(|| format!("apt plans no {name}"))?;
        if numbers(&found.package.version) < numbers(least) {
            bail!("{name} {} is older than {least}", found.package.version);
        }
    }
    Ok(files)
}

fn fetch(apt: &Apt, set: &Set, files: &[Archive], debs: &Path) -> Result<()> {
    let absent: Vec<Package> =
        files.iter().filter(|file| verify(file, debs).is_err()).map(|file| file.package.clone()).collect();
    if absent.is_empty() {
        return Ok(());
    }
    let size: u64 = files.iter().filter(|file| absent.contains(&file.package)).map(|file| file.size).sum();
    let what =
        format!("downloading {} packages for {}, {} MB", absent.len(), set.name, size.div_ceil(1_000_000));
    apt.download(&what, &absent, debs)?;
    files.iter().try_for_each(|file| verify(file, debs))
}

/// The digest of the downloaded file must be the one in the signed index.
fn verify(file: &Archive, debs: &Path) -> Result<()> {
    let found = digest::of_file(&debs.join(&file.file))?;
    let wanted = file.sha256.as_deref().unwrap_or_default();
    if found != wanted {
        bail!("{} has digest {found}, the package lists say {wanted}", file.file);
    }
    Ok(())
}

fn unpack(project: &Project, set: &Set, files: &[Archive], debs: &Path) -> Result<PathBuf> {
    let final_folder = folder(project, set);
    let record_path = record_path(project, set);
    let fresh = final_folder.with_extension("new");
    remove(&fresh)?;
    fs::create_dir_all(&fresh).with_context(|| format!("making {}", fresh.display()))?;
    let mut record = String::new();
    for file in files {
        let mut command = Command::new("dpkg-deb");
        run::run(command.arg("--extract").arg(debs.join(&file.file)).arg(&fresh))?;
        let digest = file.sha256.as_deref().unwrap_or_default();
        record += &format!("package {digest} {} {}\n", file.package.name, file.package.version);
    }
    for path in set.checked {
        record += &format!("file {} {path}\n", digest::of_file(&fresh.join(path))?);
    }
    // The record goes first and comes last, so that a half-done set is never taken for a whole one.
    if record_path.exists() {
        fs::remove_file(&record_path)?;
    }
    remove(&final_folder)?;
    fs::rename(&fresh, &final_folder).with_context(|| format!("placing {}", final_folder.display()))?;
    fs::write(&record_path, record)?;
    Ok(final_folder)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: Set = Set {
        name: "sample",
        purpose: "a test",
        packages: &["sample"],
        closure: false,
        family: None,
        only: None,
        at_least: None,
        checked: &["usr/bin/sample"],
    };

    fn project(name: &str) -> Project {
        let cache = std::env::temp_dir().join(format!("paravane-store-{name}-{}", std::process::id()));
        Project { root: cache.clone(), target: cache.clone(), cache }
    }

    #[test]
    fn a_changed_file_makes_a_set_absent() {
        let project = project("changed");
        let folder = folder(&project, &SET);
        fs::create_dir_all(folder.join("usr/bin")).unwrap();
        fs::write(folder.join("usr/bin/sample"), "abc").unwrap();
        assert_eq!(present(&project, &SET), None, "no record");
        let record = format!("package 00 sample 1\nfile {} usr/bin/sample\n", digest::of_bytes(b"abc"));
        fs::write(record_path(&project, &SET), record).unwrap();
        assert_eq!(present(&project, &SET), Some(folder.clone()));
        fs::write(folder.join("usr/bin/sample"), "abd").unwrap();
        assert_eq!(present(&project, &SET), None, "changed file");
        fs::remove_dir_all(&project.cache).unwrap();
    }

    #[test]
    fn a_download_must_have_the_digest_of_the_lists() {
        let project = project("digest");
        fs::create_dir_all(&project.cache).unwrap();
        let package = Package { name: "sample".into(), version: "1".into() };
        let mut file = Archive {
            package,
            file: "sample_1_all.deb".into(),
            size: 3,
            sha256: Some(digest::of_bytes(b"abc")),
        };
        fs::write(project.cache.join(&file.file), "abc").unwrap();
        assert!(verify(&file, &project.cache).is_ok());
        file.sha256 = Some(digest::of_bytes(b"abd"));
        assert!(verify(&file, &project.cache).is_err());
        fs::remove_dir_all(&project.cache).unwrap();
    }
}
