//! `cargo xtask image`: a disk image that starts the hypervisor through GRUB, from a BIOS and from UEFI.

mod disk;
pub mod elf;
mod fat;
mod grub;

use crate::build::{self, Built};
use crate::cli;
use crate::project::Project;
use crate::qemu::{self, Mode};
use crate::setup::{self, Bring};
use crate::{digest, run, stop};
use anyhow::{Context, Result, bail};
use paravane_core::build::bundle;
use paravane_tests::status::Status;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of a sector.
const SECTOR: usize = 512;

/// How long the menu waits for a choice, in seconds.
const MENU_SECONDS: u32 = 3;

/// Runs `image`.
pub fn command(project: &Project, options: &cli::Image) -> Result<Status> {
    qemu::check(&options.machine)?;
    if options.machine.hypervisor != "paravane" {
        return Err(stop::usage("an image boots Paravane; allowed: --hypervisor paravane"));
    }
    if qemu::without_hypervisor(&options.machine) {
        return Err(stop::usage("an image boots Paravane; allowed: --machine pv-ring1, pv-ring3"));
    }
    let bring = Bring::from_options(&options.machine.setup);
    let built = if options.machine.no_build { build::made(project)? } else { build::all(project, bring)? };
    let grub = {
        let _lock = setup::lock(project)?;
        setup::grub::need(project, bring)?
    };
    // An image does not depend on where this command's input comes from, unless it is booted right now.
    let mode = if options.boot.is_some() { qemu::mode(&options.machine) } else { Mode::Demonstration };
    let bytes = make(project, options, &built, &grub, mode)?;
    let path = options.output.clone().unwrap_or_else(|| build::images(project).join("paravane.img"));
    fs::write(&path, &bytes).with_context(|| format!("writing {}", path.display()))?;
    println!("{}  {}", digest::of_bytes(&bytes), path.display());
    match options.boot {
        None => {
            show_commands(&options.machine, &path)?;
            Ok(Status::Good)
        }
        Some(firmware) => boot(project, options, &path, firmware, mode),
    }
}

/// The image's bytes. The entry for `mode` is the one that is taken if nobody chooses.
fn make(
    project: &Project,
    options: &cli::Image,
    built: &Built,
    grub: &setup::grub::Grub,
    mode: Mode,
) -> Result<Vec<u8>> {
    let images = build::images(project);
    let hypervisor = fs::read(&built.hypervisor).context("reading the hypervisor")?;
    let hypervisor = elf::without_sections(&hypervisor)?;
    let (core, efi) = (grub::core(grub, "i386-pc", &images)?, grub::core(grub, "x86_64-efi", &images)?);

    let demonstration = qemu::bundle(project, &options.machine, built, Mode::Demonstration)?;
    let shell = qemu::bundle(project, &options.machine, built, Mode::Terminal)?;
    let (demonstration, shell) = (bundle::read(&demonstration)?, bundle::read(&shell)?);
    // The domains' arguments stand in the device tree; all else is the same.
    let (Some((demo_tree, modules)), Some((shell_tree, _))) =
        (demonstration.split_first(), shell.split_first())
    else {
        bail!("the boot archive is empty");
    };
    let paths: Vec<String> = (1..=modules.len()).map(|number| format!("boot/module{number}")).collect();
    let with = |tree: &str| [tree.to_owned()].into_iter().chain(paths.iter().cloned()).collect();
    let mut entries = [
        grub::Entry { title: "Paravane, demonstration", modules: with("boot/demo.dtb") },
        grub::Entry { title: "Paravane, shell", modules: with("boot/shell.dtb") },
    ];
    if mode != Mode::Demonstration {
        entries.reverse();
    }
    let seconds = if options.boot.is_some() { 0 } else { MENU_SECONDS };
    let configuration = grub::configuration(&entries, &qemu::hypervisor_arguments(&options.machine), seconds);

    let mut files: Vec<(String, &[u8])> = vec![
        ("EFI/BOOT/BOOTX64.EFI".into(), &efi),
        ("boot/grub/grub.cfg".into(), configuration.as_bytes()),
        ("boot/paravane.elf".into(), &hypervisor),
        ("boot/demo.dtb".into(), demo_tree.data),
        ("boot/shell.dtb".into(), shell_tree.data),
    ];
    files.extend(paths.into_iter().zip(modules).map(|(path, module)| (path, module.data)));
    let boot = grub.platform("i386-pc").join("boot.img");
    let boot = fs::read(&boot).with_context(|| format!("reading {}", boot.display()))?;
    disk::build(&disk::Content { boot: &boot, core: &core, files })
}

/// QEMU's arguments for the image as its disk. What is written to it is forgotten.
fn disk_arguments(image: &Path) -> Vec<OsString> {
    let mut drive = OsString::from("file=");
    drive.push(comma_doubled(image));
    drive.push(",format=raw,if=ide,snapshot=on");
    vec!["-drive".into(), drive]
}

fn firmware_arguments(ovmf: &setup::grub::Ovmf) -> Vec<OsString> {
    let flash = |file: &Path, end: &str| {
        let mut drive = OsString::from("if=pflash,format=raw,file=");
        drive.push(comma_doubled(file));
        drive.push(end);
        ["-drive".into(), drive]
    };
    [flash(&ovmf.code, ",readonly=on"), flash(&ovmf.variables, ",snapshot=on")].concat()
}

/// A path as a value in QEMU's lists.
fn comma_doubled(path: &Path) -> OsString {
    path.to_string_lossy().replace(',', ",,").into()
}

fn boot(
    project: &Project,
    options: &cli::Image,
    image: &Path,
    firmware: cli::Firmware,
    mode: Mode,
) -> Result<Status> {
    let bring = Bring::from_options(&options.machine.setup);
    let (qemu, ovmf) = {
        let _lock = setup::lock(project)?;
        let ovmf = match firmware {
            cli::Firmware::Bios => None,
            cli::Firmware::Uefi => Some(setup::grub::firmware(project, bring)?),
        };
        (setup::qemu::need(project, bring)?, ovmf)
    };
    let mut command = qemu.command();
    command.args(qemu::machine_arguments(&options.machine, &image.with_file_name("qemu.log"))?);
    command.args(ovmf.iter().flat_map(firmware_arguments)).args(disk_arguments(image));
    qemu::run(command, &options.machine, mode)
}

/// Says how the image is started.
fn show_commands(options: &cli::Qemu, image: &Path) -> Result<()> {
    let mut command = std::process::Command::new("qemu-system-x86_64");
    command.args(qemu::machine_arguments(options, &PathBuf::from("qemu.log"))?).args(disk_arguments(image));
    run::say(format_args!("boot it with: {}", run::shown(&command)));
    run::say("or with: cargo xtask image --boot bios, cargo xtask image --boot uefi");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_a_path_does_not_end_it() {
        let text = |args: Vec<OsString>| {
            args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(
            text(disk_arguments(Path::new("/a,b/i.img"))),
            ["-drive", "file=/a,,b/i.img,format=raw,if=ide,snapshot=on"]
        );
        let ovmf = setup::grub::Ovmf { code: "/c,1".into(), variables: "/v".into() };
        assert_eq!(
            text(firmware_arguments(&ovmf)),
            [
                "-drive",
                "if=pflash,format=raw,file=/c,,1,readonly=on",
                "-drive",
                "if=pflash,format=raw,file=/v,snapshot=on"
            ]
        );
    }
}
