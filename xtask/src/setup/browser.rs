//! A browser, in which the HTML report is tried: the system's, or one unpacked under the cache folder.

use super::apt::{Apt, is_root};
use super::store::{self, Set};
use super::{Bring, ask, in_path};
use crate::project::Project;
use crate::{run, stop};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Programs that speak Chromium's DevTools protocol.
const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
const PACKAGE: &str = "chromium";

/// Chromium for a user who cannot install it, or would rather not.
const UNPACKED: Set = Set {
    name: "chromium",
    purpose: "the browser that the HTML report is tried in, with the libraries that the system lacks",
    packages: &[PACKAGE],
    closure: true,
    family: Some("chromium"),
    only: None,
    at_least: None,
    checked: &["usr/lib/chromium/chromium"],
};

/// A browser that runs on this machine.
#[derive(Clone, Debug)]
pub struct Browser {
    program: PathBuf,
    root: Option<PathBuf>,
}

impl Browser {
    /// The command that starts it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(root) = &self.root {
            command.env("LD_LIBRARY_PATH", store::libraries(root));
        }
        command
    }

    /// Where it lies.
    pub fn program(&self) -> &Path {
        &self.program
    }

    fn runs(&self) -> bool {
        run::succeeds(self.command().arg("--version"))
    }
}

/// Finds a browser, or brings it.
pub fn need(project: &Project, bring: Bring) -> Result<Browser> {
    if let Some(found) = find(project) {
        return Ok(found);
    }
    if bring.nothing() {
        return Err(stop::missing(PACKAGE, "cargo xtask setup"));
    }
    if !Apt::present() {
        return Err(stop::missing(PACKAGE, "your system's package manager (its Chromium)"));
    }
    let apt = Apt::new(project)?;
    let install = format!("apt-get install --no-install-recommends {PACKAGE}");
    if is_root() && bring.may_install() && ask(&format!("{PACKAGE} is missing. Run `{install}`?"))? {
        let what = format!("installing {PACKAGE}, in which the HTML report is tried ({install})");
        apt.install_fresh(&what, &[PACKAGE])?;
    } else {
        store::bring(project, &apt, &UNPACKED)?;
    }
    find(project).with_context(|| {
        let unpacked = unpacked(&store::folder(project, &UNPACKED));
        let reason = run::output(unpacked.command().arg("--version")).err();
        format!(
            "{PACKAGE} was brought, but does not run: {}",
            reason.map_or_else(String::new, |e| e.to_string())
        )
    })
}

fn find(project: &Project) -> Option<Browser> {
    let system = PROGRAMS.iter().filter_map(|name| in_path(name));
    let mut system = system.map(|program| Browser { program, root: None }).filter(Browser::runs);
    system.next().or_else(|| {
        let unpacked = unpacked(&store::present(project, &UNPACKED)?);
        unpacked.runs().then_some(unpacked)
    })
}

/// Not the script that a desktop starts, which looks for the program in the system's own folders.
fn unpacked(root: &Path) -> Browser {
    Browser { program: root.join("usr/lib/chromium/chromium"), root: Some(root.to_path_buf()) }
}
