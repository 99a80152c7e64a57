//! Debian's Xen in place of Paravane: the guest is its first domain, loaded as a multiboot module.

use super::guests::Guest;
use super::machine;
use crate::cli;
use crate::project::Project;
use crate::stop;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `--hypervisor` calls it.
pub const NAME: &str = "xen";

/// Refuses what Xen's first domain cannot be.
pub fn check(options: &cli::Qemu, guests: &[Guest]) -> Result<()> {
    let refuse = |why: &str| Err(stop::usage(format!("--hypervisor xen: {why}")));
    if guests.len() > 1 {
        return refuse("it starts one domain by itself; allowed: one --guest or --cfg");
    }
    if options.checked {
        return refuse("--checked is about Paravane; allowed with: --hypervisor paravane");
    }
    // Xen gives its first domain no more vcpus than there are processors.
    if let Some(guest) = guests.iter().find(|guest| guest.config.vcpus > options.smp) {
        let vcpus = guest.config.vcpus;
        return refuse(&format!("{vcpus} vcpus need as many processors; allowed with: --smp {vcpus}"));
    }
    Ok(())
}

/// What one run boots from, in a folder by names without blanks or commas: QEMU separates modules by these. Removed with
/// the value.
#[derive(Debug)]
pub struct Modules {
    folder: PathBuf,
    names: [String; 3],
}

impl Modules {
    /// Unpacks the hypervisor and places the kernel and the first file system beside it.
    pub fn write(project: &Project, packed: &Path, kernel: &[u8], ramdisk: &[u8]) -> Result<Self> {
        let folder = project.kernel_target().join("images");
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let id = std::process::id();
        // The last one is named as Paravane's boot archive is: by it a run's emulator is found.
        let names = [format!("xen-{id}.elf"), format!("kernel-{id}.elf"), format!("bundle-{id}.cpio")];
        let modules = Self { folder, names };
        let unpacked = Command::new("gzip").arg("--decompress").arg("--stdout").arg(packed).output();
        let unpacked = unpacked.context("starting gzip")?;
        if !unpacked.status.success() {
            bail!("gzip ended with {}: {}", unpacked.status, String::from_utf8_lossy(&unpacked.stderr));
        }
        for (name, bytes) in modules.names.iter().zip([&unpacked.stdout[..], kernel, ramdisk]) {
            let path = modules.folder.join(name);
            fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(modules)
    }

    /// Where QEMU is to be started.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Modules {
    fn drop(&mut self) {
        for name in &self.names {
            // A file left in the target folder harms nothing.
            let _ = fs::remove_file(self.folder.join(name));
        }
    }
}

/// Xen's command line. After `noreboot` it stands still at the end, so that what it says there is the last word.
fn hypervisor_arguments(options: &cli::Qemu, guest: &Guest) -> String {
    let levels = match options.verbose {
        0 => "loglvl=warning guest_loglvl=none",
        1 => "loglvl=info guest_loglvl=warning",
        _ => "loglvl=all guest_loglvl=all",
    };
    let (memory, vcpus) = (guest.config.memory_kib / 1024, guest.config.vcpus);
    let mut line = format!(
        "console=com1 com1=115200 {levels} noreboot dom0=pv dom0_mem={memory}M,max:{memory}M dom0_max_vcpus={vcpus}"
    );
    if let Some(extra) = &options.hypervisor_append {
        line.push(' ');
        line.push_str(extra);
    }
    line
}

/// QEMU's arguments for Xen and its modules.
pub fn qemu_arguments(options: &cli::Qemu, guest: &Guest, modules: &Modules) -> Result<Vec<OsString>> {
    let [hypervisor, kernel, ramdisk] = &modules.names;
    // QEMU takes two commas for one inside a module's words.
    let words = guest.config.cmdline.replace(',', ",,");
    let mut args = machine::machine_arguments(options, &modules.folder.join("qemu.log"))?;
    args.extend(["-kernel", hypervisor].map(OsString::from));
    args.extend(["-initrd".into(), format!("{kernel} {words},{ramdisk}").into()]);
    args.extend(["-append".into(), hypervisor_arguments(options, guest).into()]);
    Ok(args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::guests;
    use clap::Parser;

    #[test]
    fn the_first_domain_is_what_the_options_say() {
        let words = ["cargo xtask", "qemu", "--hypervisor", "xen", "--memory", "64M", "--append", "a=1,2"];
        let options = match cli::Cli::try_parse_from(words).unwrap().command {
            cli::Command::Qemu(options) => *options,
            _ => unreachable!("the word is qemu"),
        };
        let mut guest = guests::all(&options).unwrap().remove(0);
        guest.complete(&options, true);
        let names = ["xen-1.elf", "kernel-1.elf", "bundle-1.cpio"].map(str::to_owned);
        let modules = Modules { folder: PathBuf::from("/nonexistent"), names };
        let args = qemu_arguments(&options, &guest, &modules).unwrap();
        let text = args.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ");
        assert!(text.contains("-kernel xen-1.elf -initrd kernel-1.elf demo a=1,,2,bundle-1.cpio"), "{text}");
        assert!(text.contains("-cpu max,-smap") && text.contains("-m 320M"), "{text}");
        assert!(text.ends_with("noreboot dom0=pv dom0_mem=64M,max:64M dom0_max_vcpus=1"), "{text}");
    }
}
