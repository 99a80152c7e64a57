//! A program of another project: the system's, installed by apt, or unpacked under the cache folder with its libraries.

use super::apt::{Apt, is_root};
use super::store::{self, Set};
use super::{Bring, ask, in_path};
use crate::project::Project;
use crate::{run, stop};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program that is needed, and what is said where it is absent.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// The system's programs that serve, the best first.
    pub names: &'static [&'static str],
    /// What is said to be missing.
    pub missing: &'static str,
    /// What a reader calls it.
    pub title: &'static str,
    /// What it is for, said when it is installed.
    pub purpose: &'static str,
    /// What else a user can do where there is no apt.
    pub routes: &'static [&'static str],
    /// Its packages, for a user who cannot install them, or would rather not.
    pub set: Set,
    /// Where the set has the program.
    pub unpacked: &'static str,
    /// Adds what an unpacked one needs beside its libraries; the path is the set's folder.
    pub add: fn(&mut Command, &Path),
}

/// A program that runs on this machine.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    root: Option<PathBuf>,
    add: fn(&mut Command, &Path),
}

impl Program {
    /// The system's, at this path.
    fn installed(wanted: &Wanted, path: PathBuf) -> Self {
        Self { path, root: None, add: wanted.add }
    }

    /// The one in a set's folder.
    fn unpacked(wanted: &Wanted, root: PathBuf) -> Self {
        Self { path: root.join(wanted.unpacked), root: Some(root), add: wanted.add }
    }

    /// The command that starts it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        // Cargo names the libraries of its toolchain in it, which are none of this program's.
        command.env_remove("LD_LIBRARY_PATH");
        if let Some(root) = &self.root {
            command.env("LD_LIBRARY_PATH", store::libraries(root));
            (self.add)(&mut command, root);
        }
        command
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn runs(&self) -> bool {
        run::succeeds(self.command().arg("--version"))
    }
}

/// Finds a program, or brings it.
pub fn need(project: &Project, bring: Bring, wanted: &Wanted) -> Result<Program> {
    if let Some(found) = find(project, wanted) {
        return Ok(found);
    }
    if bring.nothing() {
        return Err(stop::missing(wanted.missing, "cargo xtask setup"));
    }
    if !Apt::present() {
        return Err(stop::missing(wanted.missing, wanted.routes.join(", or ")));
    }
    let apt = Apt::new(project)?;
    let packages = wanted.set.packages.join(" ");
    let install = format!("apt-get install --no-install-recommends {packages}");
    let question = format!("{} is missing. Run `{install}`?", wanted.missing);
    if is_root() && bring.may_install() && ask(&question)? {
        let what = format!("installing {packages}, {} ({install})", wanted.purpose);
        apt.install_fresh(&what, wanted.set.packages)?;
    } else {
        store::bring(project, &apt, &wanted.set)?;
    }
    find(project, wanted).with_context(|| {
        // What its own start says is the reason.
        let unpacked = Program::unpacked(wanted, store::folder(project, &wanted.set));
        let reason = run::output(unpacked.command().arg("--version")).err();
        let reason = reason.map_or_else(String::new, |error| error.to_string());
        format!("{} was brought, but does not run: {reason}", wanted.title)
    })
}

fn find(project: &Project, wanted: &Wanted) -> Option<Program> {
    let system = wanted.names.iter().filter_map(|name| in_path(name));
    let mut system = system.map(|path| Program::installed(wanted, path)).filter(Program::runs);
    system.next().or_else(|| {
        let unpacked = Program::unpacked(wanted, store::present(project, &wanted.set)?);
        unpacked.runs().then_some(unpacked)
    })
}

#[cfg(test)]
mod tests {
    use super::super::{browser, qemu};
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn an_unpacked_program_has_its_libraries_and_what_else_it_needs() {
        let unpacked = Program::unpacked(&qemu::QEMU, "/root".into());
        assert_eq!(unpacked.path(), Path::new("/root/usr/bin/qemu-system-x86_64"));
        let command = unpacked.command();
        let environment: Vec<_> = command.get_envs().collect();
        let libraries = store::libraries(Path::new("/root"));
        assert!(environment.contains(&(OsStr::new("LD_LIBRARY_PATH"), Some(OsStr::new(&libraries)))));
        assert!(environment.iter().any(|(name, _)| *name == "QEMU_MODULE_DIR"));
        assert_eq!(command.get_args().filter(|word| *word == "-L").count(), 3);
    }

    #[test]
    fn the_systems_program_has_nothing_of_cargos() {
        for wanted in [&qemu::QEMU, &browser::BROWSER] {
            let command = Program::installed(wanted, "/usr/bin/it".into()).command();
            assert_eq!(command.get_envs().collect::<Vec<_>>(), [(OsStr::new("LD_LIBRARY_PATH"), None)]);
            assert_eq!(command.get_args().count(), 0);
        }
    }

    #[test]
    fn what_is_unpacked_is_checked() {
        for wanted in [&qemu::QEMU, &browser::BROWSER] {
            assert!(wanted.set.checked.contains(&wanted.unpacked), "{}", wanted.title);
        }
    }
}
