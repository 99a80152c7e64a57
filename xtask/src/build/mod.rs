//! `cargo xtask build`: the hypervisor, the guest kernel, its programs, and the archive they boot from.

mod bundle;
pub mod cpio;
mod initramfs;

use crate::cli;
use crate::project::Project;
use crate::setup::toolchain::{self, Choice, TARGET, Toolchain};
use crate::setup::{self, Bring, fixtures};
use crate::{digest, run, stop};
use anyhow::{Context, Result, bail};
pub use bundle::{Domain, pack as pack_bundle};
use paravane_tests::status::Status;
use std::collections::BTreeMap;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// A bare-metal package.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    /// The cargo package.
    pub package: &'static str,
    /// What it is, for the user.
    pub what: &'static str,
}

/// The kernel that builds domains on Xen.
const TOOLSTACK: &str = "pv-guest-toolstack";

/// The bare-metal packages.
pub const IMAGES: [Image; 6] = [
    Image { package: "paravane", what: "the hypervisor" },
    Image { package: "pv-guest", what: "the guest kernel" },
    Image { package: "pv-guest-user", what: "the guest's programs" },
    Image { package: "pv-guest-attack", what: "the attacking kernel" },
    Image { package: "paravane-conformance", what: "the conformance suite" },
    Image { package: TOOLSTACK, what: "the toolstack" },
];

/// So many of them are what every machine boots from; those behind are kernels for tests, placed under their own names.
const BOOTED: usize = 3;

/// Position-independent code, linked in a fixed place: the hypervisor runs its first instructions elsewhere,
/// and the others lose nothing by it. One set of flags for all, because cargo keeps one copy of each library:
/// with flags that remap paths it does not tell copies apart by their flags, and would build `core` anew for
/// every package, every time.
const FLAGS: [&str; 2] = ["-Crelocation-model=pic", "-Clink-arg=-no-pie"];

/// What a build made.
#[derive(Clone, Debug)]
pub struct Built {
    /// The hypervisor's ELF file.
    pub hypervisor: PathBuf,
    /// The guest kernel's ELF file.
    pub guest: PathBuf,
    /// The guest's first file system.
    pub initramfs: PathBuf,
    /// The kind of toolchain they were built with, where that is known.
    pub toolchain: Choice,
}

/// Runs `build`.
pub fn command(project: &Project, options: &cli::Build) -> Result<Status> {
    let bring = Bring::from_options(&options.setup);
    if options.checked {
        let path = checked(project, bring)?;
        println!("{}  {}", digest::of_file(&path)?, path.display());
        return Ok(Status::Good);
    }
    let built = all(project, bring)?;
    for path in [&built.hypervisor, &built.guest, &built.initramfs] {
        println!("{}  {}", digest::of_file(path)?, path.display());
    }
    Ok(Status::Good)
}

/// Where a build places what it made.
pub fn images(project: &Project) -> PathBuf {
    project.kernel_target().join("images")
}

/// Builds everything that a machine boots from.
pub fn all(project: &Project, bring: Bring) -> Result<Built> {
    packages(project, bring, &IMAGES, &[])
}

/// Builds the hypervisor, the guest kernel and its programs, with more options of cargo's.
pub fn to_boot(project: &Project, bring: Bring, options: &[&str]) -> Result<Built> {
    packages(project, bring, &IMAGES[..BOOTED], options)
}

/// Builds these packages, the first [`BOOTED`] of [`IMAGES`] in front.
fn packages(project: &Project, bring: Bring, images: &[Image], options: &[&str]) -> Result<Built> {
    let (toolchain, busybox) = {
        let _lock = setup::lock(project)?;
        (toolchain::need(project, bring)?, fixtures::busybox(project, bring)?)
    };
    let mut executables = BTreeMap::new();
    for image in images {
        executables.insert(image.package, compile(project, &toolchain, image, options)?);
    }
    let one = |package: &str| {
        let made = executables.get(package).and_then(|made| made.get(package).cloned());
        made.with_context(|| format!("cargo built no executable of {package}"))
    };
    let folder = self::images(project);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let hypervisor = place(&one("paravane")?, &folder.join("paravane.elf"))?;
    let guest = place(&one("pv-guest")?, &folder.join("pv-guest.elf"))?;
    for Image { package, .. } in &images[BOOTED..] {
        place(&one(package)?, &folder.join(format!("{package}.elf")))?;
    }
    let mut programs = executables.remove("pv-guest-user").unwrap_or_default();
    programs.insert("busybox".into(), busybox);
    let initramfs = folder.join("initramfs.cpio");
    fs::write(&initramfs, initramfs::pack(&programs)?)?;
    Ok(Built { hypervisor, guest, initramfs, toolchain: toolchain.choice })
}

/// The hypervisor that checks itself, beside the other images.
const CHECKED: &str = "paravane-checked.elf";

/// Builds the hypervisor with debug assertions, which check among others the order in which locks are taken.
pub fn checked(project: &Project, bring: Bring) -> Result<PathBuf> {
    let toolchain = {
        let _lock = setup::lock(project)?;
        toolchain::need(project, bring)?
    };
    let options = ["--config", "profile.kernel.debug-assertions=true"];
    let made = compile(project, &toolchain, &IMAGES[0], &options)?;
    let made = made.get(IMAGES[0].package).context("cargo built no executable of the hypervisor")?;
    let images = images(project);
    fs::create_dir_all(&images).with_context(|| format!("making {}", images.display()))?;
    place(made, &images.join(CHECKED))
}

/// The hypervisor that checks itself, as it was built last.
pub fn checked_made(project: &Project) -> Result<PathBuf> {
    let path = images(project).join(CHECKED);
    if path.exists() { Ok(path) } else { Err(stop::missing(path.display(), "cargo xtask build --checked")) }
}

/// What the last build made, as it lies there.
pub fn made(project: &Project) -> Result<Built> {
    let images = images(project);
    let file = |name: &str| {
        let path = images.join(name);
        if path.exists() { Ok(path) } else { Err(stop::missing(path.display(), "cargo xtask build")) }
    };
    Ok(Built {
        hypervisor: file("paravane.elf")?,
        guest: file("pv-guest.elf")?,
        initramfs: file("initramfs.cpio")?,
        toolchain: Choice::Auto,
    })
}

/// The toolstack, as it was built last.
pub fn toolstack_made(project: &Project) -> Result<PathBuf> {
    let path = images(project).join(format!("{TOOLSTACK}.elf"));
    if path.exists() { Ok(path) } else { Err(stop::missing(path.display(), "cargo xtask build")) }
}

fn place(from: &Path, to: &Path) -> Result<PathBuf> {
    fs::copy(from, to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(to.to_path_buf())
}

/// Builds one package, with more options of cargo's, and gives its executables by name.
fn compile(
    project: &Project,
    toolchain: &Toolchain,
    image: &Image,
    options: &[&str],
) -> Result<BTreeMap<String, PathBuf>> {
    let start = Instant::now();
    run::say(format_args!("building {} for {TARGET} with {}", image.what, toolchain.name));
    let mut command = cargo(project, toolchain, image, "build");
    command.args(options).arg("--message-format=json-render-diagnostics");
    // A terminal gets cargo's progress, a log only what is wrong.
    if !std::io::stderr().is_terminal() {
        command.arg("--quiet");
    }
    let done = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting {}", run::shown(&command)))?;
    if !done.status.success() {
        bail!("building {} failed: {}", image.what, run::shown(&command));
    }
    let seconds = start.elapsed().as_secs_f32();
    if seconds > 1.0 {
        run::say(format_args!("  done in {seconds:.1} s"));
    }
    executables(&String::from_utf8_lossy(&done.stdout))
}

/// A cargo command for one bare-metal package, with all flags but the command's own.
pub fn cargo(project: &Project, toolchain: &Toolchain, image: &Image, verb: &str) -> Command {
    let mut command = toolchain.cargo(verb);
    command.current_dir(&project.root).args(["--package", image.package, "--profile", "kernel"]);
    command.arg("--target-dir").arg(project.kernel_target());
    let mut flags = toolchain.linker_flags();
    flags.extend(FLAGS.map(str::to_owned));
    flags.extend(remappings(project, toolchain));
    // The separator is a character that no path has; spaces in paths stay harmless.
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    command
}

/// Paths of this machine must not show in the images: two machines then build the same bytes.
fn remappings(project: &Project, toolchain: &Toolchain) -> Vec<String> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let mut pairs = vec![(project.root.clone(), "/paravane"), (cargo_home, "/cargo")];
    if let Some(source) = &toolchain.library_source {
        pairs.push((source.clone(), "/rust/library"));
        // A package may reach its source through a link; the compiler sees either path.
        pairs.extend(source.canonicalize().map(|real| (real, "/rust/library")));
    }
    pairs.push((project.target.clone(), "/target"));
    pairs.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())).collect()
}

/// Reads cargo's messages for the executables it made.
pub fn executables(messages: &str) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: serde_json::Value = serde_json::from_str(line).context("reading cargo's messages")?;
        if let (Some(name), Some(path)) = (message["target"]["name"].as_str(), message["executable"].as_str())
        {
            found.insert(name.to_owned(), PathBuf::from(path));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_read_from_the_messages() {
        let text = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"core"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"sh"},"executable":"/t/sh"}"#,
            "\nplain text\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        let found = executables(text).unwrap();
        assert_eq!(found, BTreeMap::from([("sh".to_owned(), PathBuf::from("/t/sh"))]));
        assert!(executables("{broken").is_err());
    }
}
