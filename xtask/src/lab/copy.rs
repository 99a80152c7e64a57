//! A learner's copy of the project: made, found again, thrown away.

use super::catalogue::Lab;
use super::patch;
use super::tree::{self, Tree};
use crate::project::Project;
use crate::{run, stop};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What tells a copy from any other folder, and which lab's it is.
const MARK: &str = ".lab/name";

/// The project as it was when the copy was made, and the checks of then: a copy is graded with what it was made from,
/// whatever became of the project since.
const BASE: &str = ".lab/tree";
const CHECKS: &str = ".lab/checks";

/// The lab's text in a copy.
const TEXT: &str = "LAB.md";

/// The labs' folder.
fn labs(project: &Project) -> Result<PathBuf> {
    let folder = project.root.join("labs");
    if folder.is_dir() {
        return Ok(folder);
    }
    Err(stop::usage("a learner's copy has no labs: grade it from the project that it was made by"))
}

/// A file of a lab's own.
pub fn file(project: &Project, lab: &Lab, name: &str) -> Result<PathBuf> {
    Ok(labs(project)?.join(lab.folder).join(name))
}

fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// The project with the lab's skeleton.
pub fn pristine(project: &Project, lab: &Lab) -> Result<Tree> {
    let mut files = tree::read(&project.root)?;
    let skeleton = file(project, lab, "skeleton.patch")?;
    patch::apply(&mut files, &text(&skeleton)?).with_context(|| skeleton.display().to_string())?;
    files.insert(TEXT.to_owned(), lab_text(project, lab, "")?.into_bytes());
    Ok(files)
}

/// The lab's text, its links leading to the project's files from elsewhere.
fn lab_text(project: &Project, lab: &Lab, root: &str) -> Result<String> {
    Ok(text(&file(project, lab, "README.md")?)?.replace("](../../", &format!("]({root}")))
}

/// The skeleton with an answer.
pub fn answered(project: &Project, lab: &Lab, answer: &Path) -> Result<Tree> {
    let mut files = pristine(project, lab)?;
    patch::apply(&mut files, &text(answer)?).with_context(|| answer.display().to_string())?;
    Ok(files)
}

/// The solution, which lies where no copy has it.
pub fn solution(project: &Project, lab: &Lab) -> Result<PathBuf> {
    Ok(labs(project)?.join("solutions").join(format!("{}.patch", lab.folder)))
}

/// The lab's checks, as files of the tree that is graded.
pub fn checks(project: &Project, lab: &Lab) -> Result<Tree> {
    tree::read_all(&file(project, lab, "checks")?)
}

/// Whether a copy of this lab is there.
pub fn is_started(folder: &Path, lab: &Lab) -> Result<bool> {
    match fs::read_to_string(folder.join(MARK)) {
        Ok(mark) if mark.trim() == lab.folder => Ok(true),
        Ok(mark) => Err(stop::usage(format!("{} is a copy of lab {}", folder.display(), mark.trim()))),
        Err(_) if folder.exists() && fs::read_dir(folder)?.next().is_some() => {
            Err(stop::usage(format!("{} is there, and no lab's copy", folder.display())))
        }
        Err(_) => Ok(false),
    }
}

/// Makes a copy.
pub fn start(folder: &Path, lab: &Lab, files: &Tree, checks: &Tree) -> Result<()> {
    tree::sync(folder, files)?;
    tree::sync(&folder.join(BASE), files)?;
    tree::sync(&folder.join(CHECKS), checks)?;
    remember(folder);
    // Last: a copy that was cut short is none.
    mark(folder, lab)
}

fn mark(folder: &Path, lab: &Lab) -> Result<()> {
    let path = folder.join(MARK);
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(&path, format!("{}\n", lab.folder)).with_context(|| format!("writing {}", path.display()))
}

/// What a copy was made from: the project with the skeleton, and the checks.
pub fn base(folder: &Path) -> Result<(Tree, Tree)> {
    Ok((tree::read(&folder.join(BASE))?, tree::read(&folder.join(CHECKS))?))
}

/// Makes a folder with the lab's text and these files of its own alone.
pub fn start_with(
    folder: &Path,
    lab: &Lab,
    project: &Project,
    files: &[(impl AsRef<str>, &str)],
) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let root = format!("{}/", project.root.display());
    fs::write(folder.join(TEXT), lab_text(project, lab, &root)?)?;
    for (from, to) in files {
        let from = file(project, lab, from.as_ref())?;
        fs::copy(&from, folder.join(to)).with_context(|| format!("copying {}", from.display()))?;
    }
    mark(folder, lab)
}

/// Removes a copy, and nothing else.
pub fn discard(folder: &Path, lab: &Lab) -> Result<()> {
    ensure!(is_started(folder, lab)?, "{} has no copy of this lab", folder.display());
    fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))
}

/// A history of its own, so that `git diff` shows the learner's work. A machine without git goes without.
fn remember(folder: &Path) {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.current_dir(folder).args(["-c", "user.name=Lab", "-c", "user.email=lab@localhost"]);
        // The project's own repository is around it, and not meant.
        command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("GIT_INDEX_FILE");
        run::succeeds(command.args(arguments))
    };
    let _ = git(&["init", "--quiet"])
        && fs::write(folder.join(".git/info/exclude"), "/.lab/\n").is_ok()
        && git(&["add", "--all"])
        && git(&["commit", "--quiet", "--message", "The lab's beginning"]);
}
