//! The emulator: the system's, or one unpacked under the cache folder.

use super::Bring;
use super::program::{self, Program, Wanted};
use super::store::{self, Set};
use crate::project::Project;
use anyhow::Result;
use std::path::Path;
use std::process::Command;

const PROGRAM: &str = "qemu-system-x86_64";
const UNPACKED: &str = "usr/bin/qemu-system-x86_64";

pub(super) const QEMU: Wanted = Wanted {
    names: &[PROGRAM],
    missing: PROGRAM,
    title: "QEMU",
    purpose: "the emulator that everything boots in",
    routes: &["your system's package manager (its QEMU for x86-64)", store::ROUTES],
    set: Set {
        name: "qemu",
        purpose: "the emulator that everything boots in, with the libraries that the system lacks",
        packages: &["qemu-system-x86"],
        closure: true,
        family: Some("qemu"),
        only: None,
        at_least: None,
        checked: &[UNPACKED],
    },
    unpacked: UNPACKED,
    add: folders,
};

/// Where an unpacked QEMU finds its modules and its firmware, which it looks for in the system's own folders.
fn folders(command: &mut Command, root: &Path) {
    command.env("QEMU_MODULE_DIR", root.join("usr/lib/x86_64-linux-gnu/qemu"));
    for folder in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
        command.arg("-L").arg(root.join(folder));
    }
}

/// Finds QEMU, or brings it.
pub fn need(project: &Project, bring: Bring) -> Result<Program> {
    program::need(project, bring, &QEMU)
}
