//! The toolchain for `x86_64-unknown-none`, found or brought in a fixed order: the target installed for the
//! active toolchain; its `rust-src`; Debian's packages where they are installed or unpacked already;
//! `rustup target add`; Debian's packages, unpacked under the cache folder.

use super::Bring;
use super::apt::Apt;
use super::store::{self, Set};
use crate::project::Project;
use crate::{run, stop};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The bare-metal target of all images.
pub const TARGET: &str = "x86_64-unknown-none";

/// The oldest release that builds the workspace: its `rust-version`.
const AT_LEAST: &str = env!("CARGO_PKG_RUST_VERSION");

/// Debian's Rust for building browsers, kept recent in a stable release. Not installed into the system, even
/// by root: the packages conflict with Debian's own `rustc`, and apt would remove that.
const DEBIAN: Set = Set {
    name: "rust",
    purpose: "the kernel toolchain: Debian's rustc with its library source, which builds for x86_64-unknown-none",
    packages: &["rustc-web", "cargo-web", "rust-web-src", "rust-web-clippy"],
    closure: true,
    family: Some("rust"),
    only: None,
    at_least: Some(AT_LEAST),
    checked: &["usr/bin/rustc", "usr/bin/cargo", "usr/bin/clippy-driver"],
};

/// The linker by itself, for a machine whose active toolchain brings no `rust-lld`.
const LLD: Set = Set {
    name: "lld",
    purpose: "the linker for the kernel images, which the active toolchain does not bring",
    packages: &["lld"],
    closure: true,
    family: None,
    only: None,
    at_least: None,
    checked: &[],
};

/// Which toolchains are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// The active toolchain if it can build the kernels, or be made to; Debian's otherwise
    #[default]
    Auto,
    /// The active toolchain alone
    Active,
    /// Debian's packages alone
    Debian,
}

impl Choice {
    /// The word for the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Active => "active",
            Self::Debian => "debian",
        }
    }
}

/// A toolchain that builds the images.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// What it is, for the user.
    pub name: String,
    /// The choice that leads to it again.
    pub choice: Choice,
    bin: PathBuf,
    build_std: bool,
    libraries: Option<String>,
    linker: PathBuf,
    linker_libraries: Option<String>,
    /// Where the library source lies, whose path must not reach the image.
    pub library_source: Option<PathBuf>,
}

impl Toolchain {
    /// `cargo VERB` with this toolchain for the bare-metal target.
    pub fn cargo(&self, verb: &str) -> Command {
        let clippy = verb == "clippy";
        let mut command = Command::new(self.bin.join(if clippy { "cargo-clippy" } else { "cargo" }));
        clean(&mut command);
        command.arg(verb);
        command.env("CARGO", self.bin.join("cargo")).env("RUSTC", self.bin.join("rustc"));
        let libraries: Vec<&str> =
            self.libraries.iter().chain(&self.linker_libraries).map(String::as_str).collect();
        if !libraries.is_empty() {
            command.env("LD_LIBRARY_PATH", libraries.join(":"));
        }
        command.args(["--target", TARGET]);
        if self.build_std {
            // Building the library is unstable on the command line, not in what it builds.
            command.env("RUSTC_BOOTSTRAP", "1");
            command.arg("-Zbuild-std=core,alloc,compiler_builtins");
            command.arg("-Zbuild-std-features=compiler-builtins-mem");
        }
        command
    }

    /// The flags that name the linker.
    pub fn linker_flags(&self) -> Vec<String> {
        let linker = self.linker.display();
        vec![format!("-Clinker={linker}"), "-Clinker-flavor=ld.lld".into()]
    }
}

/// Drops what the cargo that started this program left in the environment for its own children.
pub fn clean(command: &mut Command) {
    for name in
        ["LD_LIBRARY_PATH", "RUSTUP_TOOLCHAIN", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"]
    {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
}

/// Finds the toolchain, or brings it.
pub fn need(project: &Project, bring: Bring) -> Result<Toolchain> {
    let choice = bring.toolchain;
    if let Some(found) = find(project, choice) {
        return with_linker(project, bring, found);
    }
    if bring.nothing() {
        return Err(stop::missing(format!("a Rust toolchain for {TARGET}"), "cargo xtask setup"));
    }
    if choice != Choice::Debian
        && rustup_adds_target()
        && let Some(found) = find(project, choice)
    {
        return with_linker(project, bring, found);
    }
    if choice == Choice::Active || !Apt::present() {
        let routes = format!("rustup target add {TARGET} (with network), or {}", store::ROUTES);
        return Err(stop::missing(format!("a Rust toolchain for {TARGET}"), routes));
    }
    store::bring(project, &Apt::new(project)?, &DEBIAN)?;
    let found = find(project, choice).context("the unpacked toolchain does not run")?;
    with_linker(project, bring, found)
}

/// What is here already serves before anything is asked of a network.
fn find(project: &Project, choice: Choice) -> Option<Candidate> {
    let active = || sysroot("rustc", None).as_deref().and_then(of_active);
    let debian = || {
        of_debian(Path::new("/usr"), None).or_else(|| {
            let root = store::present(project, &DEBIAN)?;
            of_debian(&root.join("usr"), Some(store::libraries(&root)))
        })
    };
    match choice {
        Choice::Auto => active().or_else(debian),
        Choice::Active => active(),
        Choice::Debian => debian(),
    }
}

/// A compiler, before a linker is found for it.
#[derive(Clone, Debug)]
struct Candidate {
    name: String,
    bin: PathBuf,
    sysroot: PathBuf,
    build_std: bool,
    libraries: Option<String>,
    choice: Choice,
}

/// The active toolchain serves if it has the target, or the source to make it from.
fn of_active(sysroot: &Path) -> Option<Candidate> {
    let bin = sysroot.join("bin");
    let target = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    let ready = std::fs::read_dir(target).is_ok_and(|mut files| {
        files.any(|file| file.is_ok_and(|f| f.file_name().to_string_lossy().starts_with("libcore-")))
    });
    let source = library_source(sysroot).is_some();
    if !(bin.join("rustc").exists() && bin.join("cargo").exists()) || !(ready || source) {
        return None;
    }
    let how = if ready { "its installed target" } else { "its library source" };
    Some(Candidate {
        name: format!("the active toolchain with {how}"),
        bin,
        sysroot: sysroot.to_path_buf(),
        build_std: !ready,
        libraries: None,
        choice: Choice::Active,
    })
}

/// Debian's packages serve when all four are there at a release that builds the workspace.
fn of_debian(usr: &Path, libraries: Option<String>) -> Option<Candidate> {
    let bin = usr.join("bin");
    let whole =
        ["rustc", "cargo", "cargo-clippy", "clippy-driver"].iter().all(|tool| bin.join(tool).exists());
    if !whole || library_source(usr).is_none() {
        return None;
    }
    let rustc = bin.join("rustc");
    let release = release(&rustc, libraries.as_deref())?;
    if super::index::numbers(&release) < super::index::numbers(AT_LEAST) {
        return None;
    }
    let sysroot = sysroot(&rustc, libraries.as_deref())?;
    let name = format!("Debian's rustc {release} in {}", usr.display());
    Some(Candidate { name, bin, sysroot, build_std: true, libraries, choice: Choice::Debian })
}

fn library_source(sysroot: &Path) -> Option<PathBuf> {
    let folder = sysroot.join("lib/rustlib/src/rust/library");
    folder.join("core/src/lib.rs").exists().then_some(folder)
}

fn rustc(program: impl AsRef<Path>, libraries: Option<&str>) -> Command {
    let mut command = Command::new(program.as_ref());
    // The active toolchain is chosen by rustup from the environment, so only the library path goes.
    command.env_remove("LD_LIBRARY_PATH");
    if let Some(libraries) = libraries {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    command
}

fn sysroot(program: impl AsRef<Path>, libraries: Option<&str>) -> Option<PathBuf> {
    let text = run::output(rustc(program, libraries).args(["--print", "sysroot"])).ok()?;
    Some(PathBuf::from(text.trim()))
}

fn release(program: &Path, libraries: Option<&str>) -> Option<String> {
    let text = run::output(rustc(program, libraries).arg("-vV")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("release: ")).map(str::to_owned)
}

fn rustup_adds_target() -> bool {
    if !run::succeeds(Command::new("rustup").arg("--version")) {
        return false;
    }
    run::say(format_args!("the kernels need the target {TARGET}: asking rustup for it"));
    let added = run::output(Command::new("rustup").args(["target", "add", TARGET]));
    match added {
        Ok(_) => true,
        Err(_) => {
            run::say("  rustup cannot bring it here; Debian's packages are next");
            false
        }
    }
}

/// Prefers the linker of the active toolchain, so that a machine's own choice of packages does not show in
/// the image.
fn with_linker(project: &Project, bring: Bring, found: Candidate) -> Result<Toolchain> {
    let active = sysroot("rustc", None);
    let rust_lld = active.iter().chain([&found.sysroot]).find_map(|sysroot| {
        let path = sysroot.join("lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld");
        path.exists().then_some(path)
    });
    let (linker, linker_libraries) = match rust_lld.or_else(|| super::in_path("ld.lld")) {
        Some(linker) => (linker, None),
        None => {
            let root = match store::present(project, &LLD) {
                Some(root) => root,
                None if bring.nothing() => {
                    return Err(stop::missing("the linker ld.lld", "cargo xtask setup"));
                }
                None if !Apt::present() => return Err(stop::missing("the linker ld.lld", store::ROUTES)),
                None => store::bring(project, &Apt::new(project)?, &LLD)?,
            };
            (root.join("usr/bin/ld.lld"), Some(store::libraries(&root)))
        }
    };
    let library_source = if found.build_std { library_source(&found.sysroot) } else { None };
    Ok(Toolchain {
        name: found.name,
        choice: found.choice,
        bin: found.bin,
        build_std: found.build_std,
        libraries: found.libraries,
        linker,
        linker_libraries,
        library_source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tree(name: &str, files: &[&str]) -> PathBuf {
        let root = std::env::temp_dir().join(format!("paravane-sysroot-{name}-{}", std::process::id()));
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        root
    }

    #[test]
    fn an_installed_target_is_used_as_it_is() {
        let files = ["bin/rustc", "bin/cargo", "lib/rustlib/x86_64-unknown-none/lib/libcore-1.rlib"];
        let root = tree("target", &files);
        let found = of_active(&root).unwrap();
        assert!(!found.build_std);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn library_source_means_building_it() {
        let files = ["bin/rustc", "bin/cargo", "lib/rustlib/src/rust/library/core/src/lib.rs"];
        let root = tree("source", &files);
        let found = of_active(&root).unwrap();
        assert!(found.build_std);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_toolchain_with_neither_does_not_serve() {
        let root = tree("neither", &["bin/rustc", "bin/cargo"]);
        assert!(of_active(&root).is_none());
        assert!(of_debian(&root, None).is_none());
        fs::remove_dir_all(root).unwrap();
    }
}
