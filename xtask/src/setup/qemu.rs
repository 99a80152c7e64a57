//! The emulator: the system's, or one unpacked under the cache folder.

use super::apt::{Apt, is_root};
use super::store::{self, Set};
use super::{Bring, ask, in_path};
use crate::project::Project;
use crate::{run, stop};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";

/// QEMU for a user who cannot install it, or would rather not.
const UNPACKED: Set = Set {
    name: "qemu",
    purpose: "the emulator that everything boots in, with the libraries that the system lacks",
    packages: &[PACKAGE],
    closure: true,
    family: Some("qemu"),
    only: None,
    at_least: None,
    checked: &["usr/bin/qemu-system-x86_64"],
};

/// An emulator that runs on this machine.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: PathBuf,
    root: Option<PathBuf>,
}

impl Qemu {
    /// The command that starts it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_remove("LD_LIBRARY_PATH");
        if let Some(root) = &self.root {
            command.env("LD_LIBRARY_PATH", store::libraries(root));
            command.env("QEMU_MODULE_DIR", root.join("usr/lib/x86_64-linux-gnu/qemu"));
            for folder in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
                command.arg("-L").arg(root.join(folder));
            }
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

/// Finds QEMU, or brings it.
pub fn need(project: &Project, bring: Bring) -> Result<Qemu> {
    if let Some(found) = find(project) {
        return Ok(found);
    }
    if bring.nothing() {
        return Err(stop::missing(PROGRAM, "cargo xtask setup"));
    }
    if !Apt::present() {
        let routes = format!("your system's package manager (its QEMU for x86-64), or {}", store::ROUTES);
        return Err(stop::missing(PROGRAM, routes));
    }
    let apt = Apt::new(project)?;
    let install = format!("apt-get install --no-install-recommends {PACKAGE}");
    if is_root() && bring.may_install() && ask(&format!("{PROGRAM} is missing. Run `{install}`?"))? {
        let what = format!("installing {PACKAGE}, the emulator that everything boots in ({install})");
        apt.install_fresh(&what, &[PACKAGE])?;
    } else {
        store::bring(project, &apt, &UNPACKED)?;
    }
    find(project).with_context(|| {
        // What its own start says is the reason.
        let unpacked = unpacked(&store::folder(project, &UNPACKED));
        let reason = run::output(unpacked.command().arg("--version")).err();
        format!("QEMU was brought, but does not run: {}", reason.map_or_else(String::new, |e| e.to_string()))
    })
}

fn find(project: &Project) -> Option<Qemu> {
    let system = in_path(PROGRAM).map(|program| Qemu { program, root: None });
    system.filter(Qemu::runs).or_else(|| {
        let unpacked = unpacked(&store::present(project, &UNPACKED)?);
        unpacked.runs().then_some(unpacked)
    })
}

fn unpacked(root: &Path) -> Qemu {
    Qemu { program: root.join("usr/bin").join(PROGRAM), root: Some(root.to_path_buf()) }
}
