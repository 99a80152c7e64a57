//! Guests that others made, each by a name that `--guest` and `kernel=` take: fetched as packages, booted as they are.

use super::bzimage;
use crate::build::cpio::Writer;
use crate::build::{self, Built};
use crate::image::elf;
use crate::project::Project;
use crate::run;
use crate::setup::{self, Bring, fixtures, grub};
use anyhow::{Context, Result};
use paravane_core::build::bundle::{self, Member};
use std::fs;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Public {
    /// Debian's PV GRUB with the configuration it comes with, which looks for disks.
    PvGrub,
    /// PV GRUB made from Debian's modules, with a memory disk that holds this project's kernel and first file system.
    PvGrubMemdisk,
    /// Debian's kernel for clouds with a first file system of BusyBox alone.
    Debian,
}

const ALL: [(&str, Public); 3] =
    [("pv-grub", Public::PvGrub), ("pv-grub-memdisk", Public::PvGrubMemdisk), ("debian", Public::Debian)];

/// What Debian's kernel runs first: a shell on the console.
const INIT: &str = "\
#!/bin/busybox sh
/bin/busybox mkdir -p /dev /proc /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox --install -s /bin
exec setsid cttyhack sh </dev/hvc0 >/dev/hvc0 2>&1
";

/// What GRUB is made of: its disk, the shell, and what loads kernels.
const GRUB_MODULES: [&str; 8] = ["memdisk", "newc", "normal", "ls", "cat", "halt", "minicmd", "linux"];

/// A file of the memory disk, for reading.
const GREETING: &str = "This file lies on GRUB's memory disk.\n";

/// What Linux runs when xenstore asks it to power off. The shell is process 1 and would not know what BusyBox's own
/// `poweroff` asks of that.
const POWER_OFF: &str = "#!/bin/busybox sh\nexec /bin/busybox poweroff -f\n";

impl Public {
    /// By its name.
    pub fn from_name(name: &str) -> Option<Self> {
        ALL.iter().find(|(known, _)| *known == name).map(|(_, public)| *public)
    }

    /// The kernel, brought if it is absent.
    pub fn kernel(self, project: &Project, bring: Bring, built: &Built) -> Result<Vec<u8>> {
        match self {
            Self::PvGrub => {
                let _lock = setup::lock(project)?;
                let path = grub::pv(project, bring)?.join("usr/lib/grub-xen/grub-x86_64-xen.bin");
                fs::read(&path).with_context(|| format!("reading {}", path.display()))
            }
            Self::PvGrubMemdisk => with_memdisk(project, bring, built),
            Self::Debian => {
                let _lock = setup::lock(project)?;
                let path = fixtures::linux(project, bring)?;
                bzimage::unpacked(fs::read(&path).with_context(|| format!("reading {}", path.display()))?)
            }
        }
    }

    /// Its first file system, if it knows what to do with one.
    pub fn ramdisk(self, project: &Project, bring: Bring) -> Result<Option<Vec<u8>>> {
        if self != Self::Debian {
            return Ok(None);
        }
        let busybox = {
            let _lock = setup::lock(project)?;
            fixtures::busybox(project, bring)?
        };
        let busybox = fs::read(&busybox).with_context(|| format!("reading {}", busybox.display()))?;
        let mut archive = Writer::default();
        archive.directory("bin", 0o755)?;
        archive.file("bin/busybox", 0o755, &busybox)?;
        archive.file("init", 0o755, INIT.as_bytes())?;
        archive.directory("sbin", 0o755)?;
        archive.file("sbin/poweroff", 0o755, POWER_OFF.as_bytes())?;
        archive.finish().map(Some)
    }

    /// What stands on its command line unless something else is asked for.
    pub const fn arguments(self) -> Option<&'static str> {
        match self {
            Self::PvGrub | Self::PvGrubMemdisk => None,
            Self::Debian => Some("console=hvc0"),
        }
    }
}

/// GRUB's image with a memory disk.
fn with_memdisk(project: &Project, bring: Bring, built: &Built) -> Result<Vec<u8>> {
    let (tools, modules) = {
        let _lock = setup::lock(project)?;
        (grub::need(project, bring)?, grub::pv(project, bring)?.join("usr/lib/grub/x86_64-xen"))
    };
    let read = |path: &_| fs::read(path).context("reading what was built");
    let (kernel, ramdisk) = (elf::without_sections(&read(&built.guest)?)?, read(&built.initramfs)?);
    let disk = bundle::write(&[
        Member { name: "greeting.txt", data: GREETING.as_bytes() },
        Member { name: "pv-guest", data: &kernel },
        Member { name: "initramfs", data: &ramdisk },
    ]);
    let file = |name: &str| build::images(project).join(format!("{name}-{}", std::process::id()));
    let (disk_path, output) = (file("grub-memdisk"), file("grub-x86_64-xen"));
    fs::write(&disk_path, disk).with_context(|| format!("writing {}", disk_path.display()))?;
    let mut command = tools.mkimage();
    command.args(["--format", "x86_64-xen", "--prefix", "(memdisk)"]).arg("--directory").arg(modules);
    command.arg("--memdisk").arg(&disk_path).arg("--output").arg(&output).args(GRUB_MODULES);
    run::run(&mut command)?;
    let image = fs::read(&output).with_context(|| format!("reading {}", output.display()))?;
    for path in [&disk_path, &output] {
        fs::remove_file(path).with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_whole() {
        assert_eq!(Public::from_name("pv-grub"), Some(Public::PvGrub));
        assert_eq!(Public::from_name("pv-grub-memdisk"), Some(Public::PvGrubMemdisk));
        assert_eq!(Public::from_name("pv-grub.bin"), None);
    }
}
