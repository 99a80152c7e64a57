//! Debian's Xen in place of Paravane: the guest is its first domain, loaded as a multiboot module; or the first domain is a
//! toolstack that builds the guests from the archive that Paravane builds them from.

use super::guests::Guest;
use super::machine;
use crate::cli;
use crate::project::Project;
use crate::stop;
use anyhow::{Context, Result, bail};
use paravane_core::build::Share;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What `--hypervisor` calls it.
pub const NAME: &str = "xen";

/// MiB of the toolstack's domain besides the archive: its image, its heap, its tables.
const TOOLSTACK_MIB: u64 = 40;

/// Whether a toolstack builds the domains: Xen starts one by itself, and that one is not like others.
pub fn by_toolstack(options: &cli::Qemu, guests: &[Guest]) -> bool {
    options.domu || guests.len() > 1
}

/// Refuses what domains of Xen's cannot be.
pub fn check(options: &cli::Qemu, guests: &[Guest]) -> Result<()> {
    let refuse = |why: &str| Err(stop::usage(format!("--hypervisor xen: {why}")));
    if options.checked {
        return refuse("--checked is about Paravane; allowed with: --hypervisor paravane");
    }
    if by_toolstack(options, guests) {
        if guests.iter().any(|guest| guest.config.share != Share::default()) {
            return refuse("the toolstack sets no cpu_weight, cap, cpus or exclusive; allowed: without them");
        }
        return Ok(());
    }
    // Xen gives its first domain no more vcpus than there are processors.
    if let Some(guest) = guests.iter().find(|guest| guest.config.vcpus > options.smp) {
        let vcpus = guest.config.vcpus;
        return refuse(&format!("{vcpus} vcpus need as many processors; allowed with: --smp {vcpus}"));
    }
    Ok(())
}

/// What Xen is to start.
#[derive(Clone, Debug)]
pub struct First {
    kernel: Vec<u8>,
    /// The module that it gets.
    module: Vec<u8>,
    /// Its command line.
    words: String,
    memory_mib: u64,
    vcpus: u32,
    /// MiB that the machine has for it besides the guests' memory.
    beside_mib: u64,
}

impl First {
    /// The guest itself.
    pub fn guest(guest: &Guest, kernel: Vec<u8>, module: Vec<u8>) -> Self {
        let config = &guest.config;
        let (words, memory_mib, vcpus) = (config.cmdline.clone(), config.memory_kib / 1024, config.vcpus);
        Self { kernel, module, words, memory_mib, vcpus, beside_mib: 0 }
    }

    /// A toolstack for the domains of a boot archive.
    pub fn toolstack(options: &cli::Qemu, kernel: Vec<u8>, archive: Vec<u8>) -> Self {
        // Xen has it where the boot loader put it, and may move it to the domain's own frames.
        let memory_mib = TOOLSTACK_MIB + 2 * (archive.len() as u64).div_ceil(1 << 20);
        let appended = options.hypervisor_append.as_deref().unwrap_or_default();
        // Who has the console among its domains is for the toolstack to know.
        let words: Vec<&str> =
            appended.split_whitespace().filter(|word| word.starts_with("conswitch=")).collect();
        Self { kernel, module: archive, words: words.join(" "), memory_mib, vcpus: 1, beside_mib: memory_mib }
    }
}

/// What one run boots from, in a folder by names without blanks or commas: QEMU separates modules by these. Removed with
/// the value.
#[derive(Debug)]
pub struct Modules {
    folder: PathBuf,
    names: [String; 3],
}

impl Modules {
    /// Unpacks the hypervisor and places the kernel and its module beside it.
    pub fn write(project: &Project, packed: &Path, first: &First) -> Result<Self> {
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
        for (name, bytes) in modules.names.iter().zip([&unpacked.stdout, &first.kernel, &first.module]) {
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
fn hypervisor_arguments(options: &cli::Qemu, first: &First) -> String {
    let levels = match options.verbose {
        0 => "loglvl=warning guest_loglvl=none",
        1 => "loglvl=info guest_loglvl=warning",
        _ => "loglvl=all guest_loglvl=all",
    };
    let First { memory_mib: memory, vcpus, .. } = first;
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
pub fn qemu_arguments(options: &cli::Qemu, first: &First, modules: &Modules) -> Result<Vec<OsString>> {
    let [hypervisor, kernel, module] = &modules.names;
    // QEMU takes two commas for one inside a module's words.
    let words = first.words.replace(',', ",,");
    let log = modules.folder.join("qemu.log");
    let mut args = machine::machine_arguments_beside(options, &log, first.beside_mib)?;
    args.extend(["-kernel", hypervisor].map(OsString::from));
    args.extend(["-initrd".into(), format!("{kernel} {words},{module}").into()]);
    args.extend(["-append".into(), hypervisor_arguments(options, first).into()]);
    Ok(args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qemu::guests;
    use clap::Parser;

    fn text(words: &[&str]) -> String {
        let words = ["cargo xtask", "qemu", "--hypervisor", "xen"].iter().chain(words);
        let options = match cli::Cli::try_parse_from(words).unwrap().command {
            cli::Command::Qemu(options) => *options,
            _ => unreachable!("the word is qemu"),
        };
        let mut guests = guests::all(&options).unwrap();
        let first = if by_toolstack(&options, &guests) {
            First::toolstack(&options, Vec::new(), vec![0; 5 << 20])
        } else {
            guests[0].complete(&options, true);
            First::guest(&guests[0], Vec::new(), Vec::new())
        };
        let names = ["xen-1.elf", "kernel-1.elf", "bundle-1.cpio"].map(str::to_owned);
        let modules = Modules { folder: PathBuf::from("/nonexistent"), names };
        let args = qemu_arguments(&options, &first, &modules).unwrap();
        args.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_first_domain_is_what_the_options_say() {
        let text = text(&["--memory", "64M", "--append", "a=1,2"]);
        assert!(text.contains("-kernel xen-1.elf -initrd kernel-1.elf demo a=1,,2,bundle-1.cpio"), "{text}");
        assert!(text.contains("-cpu max,-smap") && text.contains("-m 320M"), "{text}");
        assert!(text.ends_with("noreboot dom0=pv dom0_mem=64M,max:64M dom0_max_vcpus=1"), "{text}");
    }

    #[test]
    fn a_toolstack_has_memory_of_its_own() {
        let appended = ["--hypervisor-append", "conswitch=ax guest_loglvl=all"];
        let two = ["--guest", "pv-guest", "--guest", "pv-guest,memory=32M"];
        let two = text(&[&appended[..], &two].concat());
        assert!(two.contains("-initrd kernel-1.elf conswitch=ax,bundle-1.cpio"), "{two}");
        assert!(two.contains("-m 466M") && two.contains("dom0_mem=50M,max:50M dom0_max_vcpus=1"), "{two}");
        let one = text(&["--domu", "--memory", "64M", "--append", "x"]);
        assert!(one.contains("-initrd kernel-1.elf ,bundle-1.cpio") && one.contains("-m 370M"), "{one}");
    }
}
