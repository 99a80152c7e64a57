//! `cargo xtask bare`: proves that a fresh Debian 12 with nothing but what the README names as given runs the
//! two commands, and builds the same image.
//!
//! Given are: apt, git, gcc, and rustup's stable toolchain. The system is made by debootstrap; the toolchain is
//! copied from this machine's rustup; the source is a clone of the last commit. All mounts are made in a mount
//! namespace of the commands' own, so nothing stays mounted, however they end.

mod sources;

use crate::project::Project;
use crate::setup::toolchain::Choice;
use crate::setup::{self, Bring};
use crate::{build, cli, digest, run, stop};
use anyhow::{Context, Result, bail};
use paravane_tests::status::Status;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian 12.
const RELEASE: &str = "bookworm";

/// What the README names as given, apart from rustup's toolchain.
const GIVEN: &str = "git,gcc,libc6-dev,ca-certificates";

/// Variables that say how this machine reaches its network.
const NETWORK: [&str; 6] = ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];

/// Entered as the first process of new mount and process namespaces: `$1` is the system's root, the rest is run
/// in it.
const ENTER: &str = r#"set -e
root=$1; shift
mount --make-rprivate /
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
exec chroot "$root" "$@""#;

/// A bare system on the disk. Dropping it removes it.
struct Bare {
    root: PathBuf,
    user: User,
    /// Images of different compilers differ, so the inside uses the kind of toolchain that the outside used.
    toolchain: Choice,
    keep: bool,
}

/// Who the commands run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    Root,
    Unprivileged,
}

impl User {
    fn home(self) -> &'static str {
        match self {
            Self::Root => "/root",
            Self::Unprivileged => "/home/runner",
        }
    }
}

/// Runs `bare`.
pub fn command(project: &Project, options: &cli::Bare) -> Result<Status> {
    if !rustix::process::geteuid().is_root() {
        return Err(stop::missing("the right to make a system of its own (root)", "sudo cargo xtask bare"));
    }
    let bring = Bring::from_options(&options.setup);
    setup::debootstrap(project, bring)?;
    let built = build::all(project, bring)?;
    let outside = digest::of_file(&built.hypervisor)?;
    warn_of_changes(project);
    let user = if options.user { User::Unprivileged } else { User::Root };
    let bare = Bare::make(project, user, built.toolchain, options.keep)?;
    let mut failed = Vec::new();
    let mut commands = vec!["cargo xtask qemu </dev/null", ".ci/run"];
    if options.boot_only {
        commands.pop();
    }
    for shell in commands {
        run::say(format_args!("in the bare system: {shell}"));
        let status = run::status(&mut bare.command(shell))?;
        println!("bare: `{shell}` ended with status {}", status.code().unwrap_or(-1));
        if !status.success() {
            failed.push(shell.to_owned());
        }
    }
    let image = bare.root.join(bare.user.home().trim_start_matches('/'));
    let inside = digest::of_file(&image.join("paravane/target/kernel/images/paravane.elf"))?;
    println!("bare: image outside {outside}");
    println!("bare: image inside  {inside}");
    if inside != outside {
        failed.push("the same image inside and outside".to_owned());
    }
    for what in &failed {
        println!("bare: FAILED {what}");
    }
    println!("bare: {}", if failed.is_empty() { "good" } else { "failed" });
    Ok(if failed.is_empty() { Status::Good } else { Status::CheckFailed })
}

/// The clone has what is committed, the build outside what lies in the work tree.
fn warn_of_changes(project: &Project) {
    let changes =
        run::output(Command::new("git").arg("-C").arg(&project.root).args(["status", "--porcelain"]));
    if changes.is_ok_and(|text| !text.trim().is_empty()) {
        run::say("the work tree has changes that are not committed: the bare system gets the last commit");
    }
}

impl Bare {
    fn make(project: &Project, user: User, toolchain: Choice, keep: bool) -> Result<Self> {
        let root = project.target.join("bare");
        fs::create_dir_all(&project.target)?;
        remove(&root)?;
        let bare = Self { root, user, toolchain, keep };
        bare.debian()?;
        bare.network()?;
        bare.toolchain()?;
        bare.clone_source(project)?;
        if user == User::Unprivileged {
            let make = format!(
                "useradd --uid 1000 --home-dir {home} runner && chown -R runner: {home}",
                home = user.home()
            );
            run::run(bare.enter().args(["/bin/sh", "-c", &make]))?;
        }
        Ok(bare)
    }

    fn debian(&self) -> Result<()> {
        let mut command = Command::new("debootstrap");
        command.args(["--variant=minbase", "--include", GIVEN, RELEASE]).arg(&self.root);
        let what = format!("making a fresh Debian 12 with {GIVEN} (debootstrap), a minute or two");
        run::long(&what, &mut command)?;
        Ok(())
    }

    /// The network as this machine has it: names, certificates, package sources.
    fn network(&self) -> Result<()> {
        for file in ["etc/resolv.conf", "etc/hosts", "etc/ssl/certs/ca-certificates.crt"] {
            let from = Path::new("/").join(file);
            if from.exists() {
                fs::copy(&from, self.root.join(file)).with_context(|| format!("copying {file}"))?;
            }
        }
        let apt = Path::new("/etc/apt");
        let mut files = vec![apt.join("sources.list")];
        if let Ok(entries) = fs::read_dir(apt.join("sources.list.d")) {
            files.extend(entries.flatten().map(|entry| entry.path()));
        }
        for path in files {
            let Ok(text) = fs::read_to_string(&path) else { continue };
            let deb822 = path.extension().is_some_and(|ending| ending == "sources");
            let kept = sources::of_release(&text, deb822, RELEASE);
            if !kept.is_empty() {
                let name = path.file_name().context("a source file has a name")?;
                fs::write(self.root.join("etc/apt/sources.list.d").join(name), kept)?;
                // The one that debootstrap wrote names the release alone, and would name it twice now.
                fs::write(self.root.join("etc/apt/sources.list"), "")?;
            }
        }
        Ok(())
    }

    /// The active toolchain and rustup itself, with documentation left out.
    fn toolchain(&self) -> Result<()> {
        run::say("copying rustup's active toolchain into it");
        let home = self.home();
        let active = run::output(Command::new("rustup").args(["show", "active-toolchain"]))?;
        let name = active.split_whitespace().next().context("rustup has no active toolchain")?;
        let rustup_home = variable_or("RUSTUP_HOME", ".rustup")?;
        let cargo_home = variable_or("CARGO_HOME", ".cargo")?;
        let from = rustup_home.join("toolchains").join(name);
        let to = home.join(".rustup/toolchains").join(name);
        fs::create_dir_all(&to)?;
        for part in ["bin", "lib", "libexec"] {
            if from.join(part).exists() {
                let from = from.join(part);
                run::run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&from).arg(&to))?;
            }
        }
        fs::write(
            home.join(".rustup/settings.toml"),
            format!(
                "version = \"12\"\ndefault_toolchain = \"{name}\"\nprofile = \"default\"\n\n[overrides]\n"
            ),
        )?;
        fs::create_dir_all(home.join(".cargo"))?;
        run::run(Command::new("cp").arg("-a").arg(cargo_home.join("bin")).arg(home.join(".cargo")))?;
        for file in ["config.toml", "config"] {
            if cargo_home.join(file).exists() {
                fs::copy(cargo_home.join(file), home.join(".cargo").join(file))?;
            }
        }
        Ok(())
    }

    fn clone_source(&self, project: &Project) -> Result<()> {
        let to = self.home().join("paravane");
        run::run(Command::new("git").args(["clone", "--quiet", "--no-hardlinks"]).arg(&project.root).arg(to))
    }

    fn home(&self) -> PathBuf {
        self.root.join(self.user.home().trim_start_matches('/'))
    }

    /// Enters the system; the arguments that follow are run in it.
    fn enter(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", ENTER, "enter"]);
        command.arg(&self.root);
        command
    }

    /// Runs a shell command in the clone, with an environment that has nothing of this machine but its way to
    /// the network.
    fn command(&self, shell: &str) -> Command {
        let home = self.user.home();
        let mut command = self.enter();
        if self.user == User::Unprivileged {
            command.args(["/usr/bin/setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]);
        }
        command.args(["/usr/bin/env", "-i", "CI=true", "LANG=C.UTF-8", "TERM=dumb"]);
        command.arg(format!("PARAVANE_TOOLCHAIN={}", self.toolchain.word()));
        command.arg(format!("HOME={home}"));
        command.arg(format!(
            "PATH={home}/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        ));
        for name in NETWORK {
            if let Ok(value) = std::env::var(name) {
                command.arg(format!("{name}={value}"));
            }
        }
        command.args(["/bin/bash", "-c", &format!("cd {home}/paravane && {shell}")]);
        command
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        if self.keep {
            run::say(format_args!("kept: {}", self.root.display()));
        } else if let Err(error) = remove(&self.root) {
            run::say(format_args!("{error:#}"));
        }
    }
}

/// Removes a system. Nothing is mounted in it outside the namespaces that are gone by now; that is checked all
/// the same, since a mount of `/dev` must not be emptied.
fn remove(root: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading the mounts")?;
    let prefix = root.display().to_string();
    if let Some(line) = mounts
        .lines()
        .find(|line| line.split(' ').nth(1).is_some_and(|place| Path::new(place).starts_with(&prefix)))
    {
        bail!("{prefix} has something mounted in it and is left alone: {line}");
    }
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {prefix}"))
        }
        _ => Ok(()),
    }
}

fn variable_or(variable: &str, in_home: &str) -> Result<PathBuf> {
    match std::env::var_os(variable) {
        Some(path) => Ok(PathBuf::from(path)),
        None => Ok(PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(in_home)),
    }
}
