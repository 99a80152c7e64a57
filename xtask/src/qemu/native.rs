//! No hypervisor: QEMU itself loads the guest kernel, by its note for PVH, and its first file system.

use super::guests::{Guest, Kernel};
use super::machine;
use crate::cli;
use crate::stop;
use anyhow::Result;
use std::ffi::OsString;
use std::path::Path;

/// What `--machine` calls it.
pub const NAME: &str = "native";

/// Whether the guest runs without a hypervisor.
pub fn chosen(options: &cli::Qemu) -> bool {
    options.machine.as_deref() == Some(NAME)
}

/// Refuses what a bare machine cannot be.
pub fn check(options: &cli::Qemu, guests: &[Guest]) -> Result<()> {
    let refuse = |why: &str| Err(stop::usage(format!("--machine {NAME}: {why}")));
    if options.checked || options.hypervisor_append.is_some() {
        return refuse(
            "--checked and --hypervisor-append are about Paravane; allowed with: pv-ring1, pv-ring3",
        );
    }
    let [guest] = guests else {
        return refuse("there is one kernel on a bare machine; allowed: one --guest or --cfg");
    };
    if matches!(guest.kernel, Kernel::Public(_)) {
        return refuse(
            "others' kernels are for Xen's ABI; allowed: --guest pv-guest, or a file with a PVH note",
        );
    }
    if options.smp != 1 || guest.config.vcpus != 1 {
        return refuse("the kernel drives one processor there; allowed: --smp 1 --vcpus 1");
    }
    Ok(())
}

/// QEMU's arguments for a kernel and its first file system.
pub fn qemu_arguments(options: &cli::Qemu, guest: &Guest, kernel: &Path, ramdisk: &Path) -> Vec<OsString> {
    let log = ramdisk.with_file_name("qemu.log");
    let mut args = machine::machine_arguments_of(options, &log, guest.config.memory_kib / 1024);
    args.extend(["-kernel".into(), kernel.as_os_str().to_owned()]);
    args.extend(["-initrd".into(), ramdisk.as_os_str().to_owned()]);
    args.extend(["-append".into(), machine::bare_arguments(&guest.config.cmdline).into()]);
    args
}
