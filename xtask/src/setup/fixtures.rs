//! Third-party files that tests and images use as they are: fetched as packages, never installed, never
//! committed.

use super::Bring;
use super::apt::Apt;
use super::store::{self, Set};
use crate::project::Project;
use crate::stop;
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;

const BUSYBOX: Set = Set {
    name: "busybox",
    purpose: "Debian's unmodified BusyBox, which the guest kernel runs in ring 3",
    packages: &["busybox-static"],
    closure: false,
    family: None,
    only: None,
    at_least: None,
    checked: &["bin/busybox"],
};

const XEN_HEADERS: Set = Set {
    name: "xen-headers",
    purpose: "the public headers of Xen 4.17, which the abi crate's layout is compared with",
    packages: &["libxen-dev"],
    closure: false,
    family: None,
    only: None,
    at_least: None,
    checked: &["usr/include/xen/xen.h", "usr/include/xen/arch-x86/xen-x86_64.h"],
};

const XEN: Set = Set {
    name: "xen",
    purpose: "Debian's Xen 4.17, on which the same guest kernel boots",
    packages: &["xen-hypervisor-4.17-amd64"],
    closure: false,
    family: None,
    only: None,
    at_least: None,
    checked: &["boot/xen-4.17-amd64.gz"],
};

const LINUX: Set = Set {
    name: "linux",
    purpose: "Debian's unmodified kernel for clouds, a guest that this project has no part in",
    // The version is in the name of the package that this one needs.
    packages: &["linux-image-cloud-amd64"],
    closure: true,
    family: None,
    only: Some("linux-image-"),
    at_least: None,
    checked: &[],
};

/// Debian's kernel, a bzImage.
pub fn linux(project: &Project, bring: Bring) -> Result<PathBuf> {
    let folder = need(project, bring, &LINUX)?.join("boot");
    let files = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let kernels = files.flatten().map(|file| file.path());
    let mut kernels = kernels
        .filter(|path| path.file_name().is_some_and(|it| it.to_string_lossy().starts_with("vmlinuz-")));
    kernels.next().with_context(|| format!("no kernel in {}", folder.display()))
}

/// The BusyBox program.
pub fn busybox(project: &Project, bring: Bring) -> Result<PathBuf> {
    Ok(need(project, bring, &BUSYBOX)?.join("bin/busybox"))
}

/// The folder of include files that holds `xen/xen.h`.
pub fn xen_headers(project: &Project, bring: Bring) -> Result<PathBuf> {
    Ok(need(project, bring, &XEN_HEADERS)?.join("usr/include"))
}

/// Xen's image, packed by gzip.
pub fn xen(project: &Project, bring: Bring) -> Result<PathBuf> {
    Ok(need(project, bring, &XEN)?.join("boot/xen-4.17-amd64.gz"))
}

/// A set of files, brought if it is absent.
pub(super) fn need(project: &Project, bring: Bring, set: &Set) -> Result<PathBuf> {
    if let Some(folder) = store::present(project, set) {
        return Ok(folder);
    }
    let what = set.packages.join(", ");
    if bring.nothing() {
        return Err(stop::missing(what, "cargo xtask setup"));
    }
    if !Apt::present() {
        return Err(stop::missing(what, store::ROUTES));
    }
    store::bring(project, &Apt::new(project)?, set)
}
