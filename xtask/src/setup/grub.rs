//! What a disk image needs: GRUB for both firmwares, and UEFI firmware for the emulator. Fetched as packages and
//! unpacked, never installed: an installed GRUB has designs on the machine's own disk.

use super::Bring;
use super::fixtures;
use super::store::{self, Set};
use crate::project::Project;
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;

const GRUB: Set = Set {
    name: "grub",
    purpose: "GRUB, which starts the disk image from a BIOS and from UEFI",
    // The library is what grub-mkimage needs beyond what every Debian has.
    packages: &["grub-common", "grub-pc-bin", "grub-efi-amd64-bin", "libdevmapper1.02.1"],
    closure: false,
    family: None,
    only: None,
    at_least: None,
    checked: &[
        "usr/bin/grub-mkimage",
        "usr/lib/grub/i386-pc/boot.img",
        "usr/lib/grub/i386-pc/multiboot2.mod",
        "usr/lib/grub/x86_64-efi/kernel.img",
        "usr/lib/grub/x86_64-efi/multiboot2.mod",
    ],
};

const PV: Set = Set {
    name: "pv-grub",
    purpose: "Debian's PV GRUB, a guest that this project has no part in",
    packages: &["grub-xen-host", "grub-xen-bin"],
    closure: false,
    family: None,
    only: None,
    at_least: None,
    checked: &[
        "usr/lib/grub-xen/grub-x86_64-xen.bin",
        "usr/lib/grub/x86_64-xen/kernel.img",
        "usr/lib/grub/x86_64-xen/linux.mod",
    ],
};

const OVMF: Set = Set {
    name: "ovmf",
    purpose: "UEFI firmware for the emulator",
    packages: &["ovmf"],
    closure: false,
    family: None,
    only: None,
    at_least: None,
    checked: &["usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_VARS_4M.fd"],
};

/// GRUB's files.
#[derive(Clone, Debug)]
pub struct Grub {
    root: PathBuf,
}

impl Grub {
    /// The command that makes a core.
    pub fn mkimage(&self) -> Command {
        let mut command = Command::new(self.root.join("usr/bin/grub-mkimage"));
        command.env("LD_LIBRARY_PATH", store::libraries(&self.root)).env("LC_ALL", "C.UTF-8");
        command
    }

    /// The folder of a platform's modules.
    pub fn platform(&self, name: &str) -> PathBuf {
        self.root.join("usr/lib/grub").join(name)
    }
}

/// UEFI firmware: its code, and the variables it starts with.
#[derive(Clone, Debug)]
pub struct Ovmf {
    /// The code.
    pub code: PathBuf,
    /// The variables.
    pub variables: PathBuf,
}

/// GRUB, brought if it is absent.
pub fn need(project: &Project, bring: Bring) -> Result<Grub> {
    Ok(Grub { root: fixtures::need(project, bring, &GRUB)? })
}

/// The tree with PV GRUB's image and its modules, brought if it is absent.
pub fn pv(project: &Project, bring: Bring) -> Result<PathBuf> {
    fixtures::need(project, bring, &PV)
}

/// UEFI firmware, brought if it is absent.
pub fn firmware(project: &Project, bring: Bring) -> Result<Ovmf> {
    let folder = fixtures::need(project, bring, &OVMF)?.join("usr/share/OVMF");
    Ok(Ovmf { code: folder.join("OVMF_CODE_4M.fd"), variables: folder.join("OVMF_VARS_4M.fd") })
}
