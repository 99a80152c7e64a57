//! Two builds of one commit, in two folders, give the same bytes.

use crate::build;
use crate::project::Project;
use crate::setup::Bring;
use crate::{digest, run};
use anyhow::{Context, Result, bail};
use std::fs;
use std::process::Command;

/// Clones the last commit twice into folders with names of different lengths, and compares what they build.
pub fn check(project: &Project, bring: Bring) -> Result<()> {
    let base = project.target.join("reproduce");
    if base.exists() {
        fs::remove_dir_all(&base).with_context(|| format!("removing {}", base.display()))?;
    }
    let mut digests = Vec::new();
    for name in ["a", "another-folder"] {
        let root = base.join(name);
        run::run(Command::new("git").args(["clone", "--quiet"]).arg(&project.root).arg(&root))?;
        let clone = Project { target: root.join("target"), root, cache: project.cache.clone() };
        let built = build::all(&clone, bring)?;
        let mut found = Vec::new();
        for path in [&built.hypervisor, &built.guest, &built.initramfs] {
            found.push(digest::of_file(path)?);
        }
        digests.push(found);
    }
    for (what, index) in [("hypervisor", 0), ("guest kernel", 1), ("initramfs", 2)] {
        let (one, two) = (&digests[0][index], &digests[1][index]);
        println!("{what}: {one} {two}");
        if one != two {
            bail!("two builds of the {what} differ; both are left in {}", base.display());
        }
    }
    fs::remove_dir_all(&base).with_context(|| format!("removing {}", base.display()))
}
