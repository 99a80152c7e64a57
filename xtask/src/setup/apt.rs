//! Debian's package manager: refreshing its lists, planning what a set of packages needs, downloading files.
//!
//! Root uses the system's lists. Anyone else keeps lists of their own under the cache folder: apt reads the
//! system's sources and its keys, and verifies the lists by signature, without any right to the system.

use super::index::{self, Archive, Package};
use crate::project::Project;
use crate::run;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What happens to the resolver's view of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Leave out what the system has installed.
    Installed,
    /// Pretend that nothing is installed.
    Empty,
}

/// The package manager as this user may use it.
#[derive(Debug)]
pub struct Apt {
    state: Option<PathBuf>,
}

impl Apt {
    /// Whether this machine has apt.
    pub fn present() -> bool {
        run::succeeds(Command::new("apt-get").arg("--version"))
            && run::succeeds(Command::new("dpkg-deb").arg("--version"))
    }

    /// Uses the system's lists as root, and private ones otherwise.
    pub fn new(project: &Project) -> Result<Self> {
        if is_root() {
            return Ok(Self { state: None });
        }
        let state = project.cache.join("apt");
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            std::fs::create_dir_all(state.join(folder)).context("making private lists for apt")?;
        }
        Ok(Self { state: Some(state) })
    }

    fn get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C.UTF-8");
        if let Some(state) = &self.state {
            let state = state.display();
            command.args(["-o", "Dir::State::status=/var/lib/dpkg/status"]);
            command.args(["-o", &format!("Dir::State={state}/state")]);
            command.args(["-o", &format!("Dir::State::lists={state}/state/lists")]);
            command.args(["-o", &format!("Dir::Cache={state}/cache")]);
        } else {
            // Root's downloads go to a folder that apt's own user may not enter.
            command.args(["-o", "APT::Sandbox::User=root"]);
        }
        command
    }

    /// Fetches the lists of packages: a fresh machine has none.
    pub fn update(&self) -> Result<()> {
        run::long("refreshing the lists of Debian's packages (apt-get update)", self.get().arg("update"))?;
        Ok(())
    }

    /// Everything that installing these packages would bring.
    pub fn closure(&self, packages: &[&str], view: View) -> Result<Vec<Package>> {
        let mut command = self.get();
        if view == View::Empty {
            command.args(["-o", "Dir::State::status=/dev/null"]);
        }
        command.args(["install", "--yes", "--quiet=2", "--no-install-recommends", "--print-uris"]);
        let files = index::archives(&run::output(command.args(packages))?)?;
        Ok(files.into_iter().map(|file| file.package).collect())
    }

    /// The files of exactly these packages, with their digests from the signed lists.
    pub fn files(&self, packages: &[String]) -> Result<Vec<Archive>> {
        let mut command = self.get();
        let files =
            index::archives(&run::output(command.args(["download", "--print-uris"]).args(packages))?)?;
        if let Some(file) = files.iter().find(|file| file.sha256.is_none()) {
            bail!("the package lists hold no SHA-256 for {}", file.file);
        }
        Ok(files)
    }

    /// Downloads packages into a folder; apt checks them against its lists, the caller checks again.
    pub fn download(&self, what: &str, packages: &[Package], folder: &Path) -> Result<()> {
        let mut command = self.get();
        command.arg("download").args(packages.iter().map(Package::pinned)).current_dir(folder);
        run::long(what, &mut command)?;
        Ok(())
    }

    /// Installs packages into the system, with fresh lists if those at hand do not serve; root alone can.
    pub fn install_fresh(&self, what: &str, packages: &[&str]) -> Result<()> {
        if self.install(what, packages).is_err() {
            self.update()?;
            self.install(what, packages)?;
        }
        Ok(())
    }

    fn install(&self, what: &str, packages: &[&str]) -> Result<()> {
        let mut command = self.get();
        command.args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(packages);
        run::long(what, &mut command)?;
        Ok(())
    }
}

/// Whether this process may change the system.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
