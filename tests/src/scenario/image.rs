//! The disk image, booted through GRUB by a BIOS and by UEFI.

use super::{Context, LIMIT, Outcome};
use crate::driver::{Driver, Stdin, shell_status};
use crate::status::Status;
use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;
use std::process::Command;

impl Context {
    /// `cargo xtask image` with the images as they are, to a file of this name.
    fn image(&self, name: &str, args: &[&str]) -> (Command, PathBuf) {
        let path = self.scratch.join(name);
        let mut command = Command::new(&self.xtask);
        command.args(["image", "--no-build", "--no-setup", "--output"]).arg(&path).args(args);
        (command, path)
    }
}

fn ends(command: Command, lines: Option<&str>, wanted: Status) -> Result<Driver> {
    let mut driver = Driver::start(command, if lines.is_some() { Stdin::Pipe } else { Stdin::Null })?;
    if let Some(lines) = lines {
        driver.send(lines.as_bytes())?;
        driver.close_input();
    }
    let status = shell_status(driver.finish(LIMIT)?);
    if status != i32::from(wanted.code()) {
        bail!("status {status}, not {} ({wanted}); printed last:\n{}", wanted.code(), driver.tail());
    }
    Ok(driver)
}

fn line<'a>(driver: &'a Driver, words: &str) -> Result<&'a str> {
    let found = driver.console.lines().iter().find(|line| line.contains(words));
    Ok(found.with_context(|| format!("nothing says {words:?}:\n{}", driver.tail()))?)
}

/// The demonstration to its end, and an audit after it.
fn demonstrate(context: &Context, firmware: &str) -> Result<Outcome> {
    let name = format!("{firmware}.img");
    let args = ["--boot", firmware, "-v", "--hypervisor-append", "paravane.audit"];
    let (command, path) = context.image(&name, &args);
    let driver = ends(command, None, Status::Good)?;
    // The device tree, the kernel and its file system, each as a module of its own.
    line(&driver, "(PV) booted by multiboot2, 3 modules, boot loader: \"GRUB 2")?;
    line(&driver, "audit: all counts agree")?;
    let sum = driver.console.summary().context("no demonstration")?;
    std::fs::remove_file(path)?;
    Ok(Outcome::Passed(format!("{} ok lines", sum.ok)))
}

/// GRUB by QEMU's BIOS.
pub fn bios(context: &Context) -> Result<Outcome> {
    demonstrate(context, "bios")
}

/// GRUB by OVMF.
pub fn ovmf(context: &Context) -> Result<Outcome> {
    demonstrate(context, "uefi")
}

/// UEFI leaves the interrupt controllers and the serial line such that typing works; memory above 4 GiB is used.
pub fn shell(context: &Context) -> Result<Outcome> {
    let (command, path) = context.image("shell.img", &["--boot", "uefi", "--memory", "4G"]);
    let driver = ends(command, Some("echo seen | tr a-z A-Z\n"), Status::Good)?;
    if !driver.console.lines().iter().any(|line| line == "SEEN") {
        bail!("the shell did not do what was typed:\n{}", driver.tail());
    }
    std::fs::remove_file(path)?;
    Ok(Outcome::Passed("a typed line was run, in a guest of 4 GiB".into()))
}

/// Two runs give the same bytes, and another guest gives others.
pub fn repeats(context: &Context) -> Result<Outcome> {
    let make = |name: &str, args: &[&str]| -> Result<Vec<u8>> {
        let (command, path) = context.image(name, args);
        ends(command, None, Status::Good)?;
        let bytes = std::fs::read(&path)?;
        std::fs::remove_file(&path)?;
        Ok(bytes)
    };
    let (one, two, other) =
        (make("one.img", &[])?, make("two.img", &[])?, make("other.img", &["--append", "x"])?);
    if one != two {
        let at = one.iter().zip(&two).position(|(a, b)| a != b);
        bail!("two images of {} and {} bytes differ, first at byte {at:?}", one.len(), two.len());
    }
    if one == other {
        bail!("another command line of the guest gave the same image");
    }
    Ok(Outcome::Passed(format!("{} bytes, twice the same", one.len())))
}

/// With GRUB absent and nothing to be fetched, the command that brings it is named, and no image is left.
pub fn missing(context: &Context) -> Result<Outcome> {
    let empty = context.scratch.join("empty-cache");
    std::fs::create_dir_all(&empty)?;
    let (mut command, path) = context.image("missing.img", &[]);
    command.env("XDG_CACHE_HOME", &empty);
    let driver = ends(command, None, Status::Missing)?;
    line(&driver, "cargo xtask setup")?;
    if path.exists() {
        bail!("an image was made without GRUB");
    }
    Ok(Outcome::Passed("it says how GRUB is brought".into()))
}
