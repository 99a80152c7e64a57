//! `cargo xtask setup`, and what every other command calls to get what it needs.

mod apt;
pub mod browser;
pub mod fixtures;
pub mod grub;
mod index;
pub mod program;
pub mod qemu;
mod store;
pub mod toolchain;

use crate::cli;
use crate::project::Project;
use crate::{run, stop};
use anyhow::{Context, Result};
use paravane_tests::status::Status;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// How far a command may go to get what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bring {
    reach: Reach,
    toolchain: toolchain::Choice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Fail with the command that brings it.
    Nothing,
    /// Fetch and unpack under the cache folder.
    Unpacked,
    /// Install into the system where the user may and agrees; unpack otherwise.
    Everything,
}

impl Bring {
    /// What the options allow.
    pub fn from_options(options: &cli::Setup) -> Self {
        let reach = match options {
            cli::Setup { no_setup: true, .. } => Reach::Nothing,
            cli::Setup { unpack: true, .. } => Reach::Unpacked,
            _ => Reach::Everything,
        };
        Self { reach, toolchain: options.toolchain }
    }

    fn nothing(self) -> bool {
        self.reach == Reach::Nothing
    }

    fn may_install(self) -> bool {
        self.reach == Reach::Everything
    }
}

/// Runs `setup`.
pub fn command(project: &Project, options: &cli::Setup) -> Result<Status> {
    let bring = Bring::from_options(options);
    let _lock = lock(project)?;
    let mut missing = None;
    let mut note = |what: &str, found: Result<String>| match found {
        Ok(text) => println!("{what}: {text}"),
        Err(error) => {
            println!("{what}: missing");
            run::say(format_args!("{error:#}"));
            missing.get_or_insert(stop::status_of(&error));
        }
    };
    note("kernel toolchain", toolchain::need(project, bring).map(|found| found.name));
    note("emulator", qemu::need(project, bring).map(|found| found.path().display().to_string()));
    note("BusyBox", fixtures::busybox(project, bring).map(|path| path.display().to_string()));
    note("Xen headers", fixtures::xen_headers(project, bring).map(|path| path.display().to_string()));
    note("Xen", fixtures::xen(project, bring).map(|path| path.display().to_string()));
    note("GRUB", grub::need(project, bring).map(|found| found.platform("").display().to_string()));
    note("PV GRUB", grub::pv(project, bring).map(|path| path.display().to_string()));
    note("Debian's kernel", fixtures::linux(project, bring).map(|path| path.display().to_string()));
    note("UEFI firmware", grub::firmware(project, bring).map(|found| found.code.display().to_string()));
    note("browser", browser::need(project, bring).map(|found| found.path().display().to_string()));
    Ok(missing.unwrap_or(Status::Good))
}

/// Keeps two commands from bringing the same thing at once; the lock goes with the value.
pub fn lock(project: &Project) -> Result<std::fs::File> {
    std::fs::create_dir_all(&project.cache).with_context(|| format!("making {}", project.cache.display()))?;
    let file = std::fs::File::create(project.cache.join("lock")).context("opening the lock of the cache")?;
    file.lock().context("waiting for another xtask that sets up")?;
    Ok(file)
}

/// The program that makes a Debian system in a folder, needed by `bare` alone.
pub fn debootstrap(project: &Project, bring: Bring) -> Result<()> {
    const PROGRAM: &str = "debootstrap";
    const INSTALL: &str = "apt-get install debootstrap";
    if in_path(PROGRAM).is_some() {
        return Ok(());
    }
    if !bring.may_install()
        || !apt::Apt::present()
        || !ask(&format!("{PROGRAM} is missing. Run `{INSTALL}`?"))?
    {
        return Err(stop::missing(PROGRAM, INSTALL));
    }
    apt::Apt::new(project)?.install_fresh(&format!("installing {PROGRAM} ({INSTALL})"), &[PROGRAM])
}

/// A program published as a package of Rust's registry, kept under the cache folder.
pub fn cargo_tool(project: &Project, bring: Bring, name: &str) -> Result<PathBuf> {
    let root = project.cache.join("tools");
    if let Some(found) =
        in_path(name).or_else(|| Some(root.join("bin").join(name)).filter(|path| path.exists()))
    {
        return Ok(found);
    }
    if bring.nothing() {
        return Err(stop::missing(name, format!("cargo install --locked {name}")));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = std::process::Command::new(cargo);
    command.args(["install", "--locked", "--root"]).arg(&root).arg(name);
    run::long(&format!("building {name}, which the full tests need (cargo install)"), &mut command)?;
    Ok(root.join("bin").join(name))
}

/// Asks on a terminal; elsewhere says what is done and goes on.
fn ask(question: &str) -> Result<bool> {
    if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        run::say(format_args!("{question} Yes: this is not a terminal"));
        return Ok(true);
    }
    eprint!("xtask: {question} [Y/n] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(is_yes(&answer))
}

fn is_yes(answer: &str) -> bool {
    // No line at all is the end of the input, and no agreement.
    !answer.is_empty() && matches!(answer.trim().to_ascii_lowercase().as_str(), "" | "y" | "yes")
}

/// A program's place, looked up as a shell would.
fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_or_the_default_installs() {
        for yes in ["\n", "y\n", "YES\n", " y \n"] {
            assert!(is_yes(yes), "{yes:?}");
        }
        for no in ["n\n", "no\n", "what\n", "q", ""] {
            assert!(!is_yes(no), "{no:?}");
        }
    }

    #[test]
    fn options_bound_what_is_brought() {
        let bring = |no_setup, unpack| {
            Bring::from_options(&cli::Setup { no_setup, unpack, toolchain: toolchain::Choice::Auto })
        };
        assert!(bring(false, false).may_install() && !bring(false, false).nothing());
        assert!(!bring(false, true).may_install() && !bring(false, true).nothing());
        assert!(bring(true, true).nothing());
    }

    #[test]
    fn programs_are_found_as_a_shell_finds_them() {
        assert!(in_path("sh").is_some());
        assert!(in_path("no-such-program-here").is_none());
    }
}
