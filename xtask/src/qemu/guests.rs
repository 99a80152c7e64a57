//! Which domains to build: from `--guest` and the options around it, or from `xl.cfg` files.
//!
//! Both use the names of `xl.cfg` (xl.cfg(5)): a domain that needs more than the common options say has them behind
//! its kernel, `--guest pv-guest,name=a,memory=64M,extra="role=spin"`, and `--cfg FILE` reads them from a file that
//! starts the same domain on Xen.

use super::bzimage;
use super::machine;
use super::public::Public;
use crate::build::Built;
use crate::cli;
use crate::project::Project;
use crate::setup::Bring;
use crate::stop;
use anyhow::{Context, Result};
use paravane_core::build::policy::read_cpus;
use paravane_core::build::{Action, DomainConfig, MachineKind};
use std::fs;
use std::path::{Path, PathBuf};

/// A domain, as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// What the device tree will say, but for the modules.
    pub config: DomainConfig,
    /// Its kernel.
    pub kernel: Kernel,
    /// Its first file system; `None` is the kernel's own.
    pub ramdisk: Option<PathBuf>,
    /// It has a command line of its own.
    own_arguments: bool,
}

/// Where a kernel comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// This project.
    Own,
    /// Others, fetched by this program.
    Public(Public),
    /// A file.
    File(PathBuf),
}

/// The name of this project's guest kernel, as `--guest` and `kernel=` take it.
const OWN_GUEST: &str = "pv-guest";

/// All domains that the options ask for: at least one.
pub fn all(options: &cli::Qemu) -> Result<Vec<Guest>> {
    let mut guests = Vec::new();
    for spec in &options.guest {
        guests.push(from_spec(options, spec)?);
    }
    for file in &options.cfg {
        let text = fs::read_to_string(file)
            .map_err(|error| stop::usage(format!("--cfg {}: {error}", file.display())))?;
        guests.push(from_file(options, file, &text)?);
    }
    if guests.is_empty() {
        guests.push(plain(options, "guest")?);
    }
    if guests.len() > 1 {
        for (index, guest) in guests.iter_mut().enumerate().filter(|(_, guest)| guest.config.name == "guest")
        {
            guest.config.name = format!("guest{}", index + 1);
        }
    }
    Ok(guests)
}

/// A domain with what the common options say.
fn plain(options: &cli::Qemu, name: &str) -> Result<Guest> {
    let mut config = DomainConfig::new(name, machine::memory_mib(&options.memory)? * 1024, 0);
    config.vcpus = options.vcpus;
    config.machine = options.machine.as_deref().and_then(MachineKind::from_name);
    Ok(Guest { config, kernel: Kernel::Own, ramdisk: options.initramfs.clone(), own_arguments: false })
}

fn from_spec(options: &cli::Qemu, spec: &str) -> Result<Guest> {
    let bad = |why: String| stop::usage(format!("--guest {spec}: {why}"));
    let mut parts = split(spec).into_iter();
    let mut guest = plain(options, "guest")?;
    guest.kernel = kernel(&parts.next().unwrap_or_default());
    for part in parts {
        let (name, value) = part.split_once('=').ok_or_else(|| bad(format!("`{part}` is not NAME=VALUE")))?;
        set(&mut guest, name.trim(), unquoted(value.trim())).map_err(bad)?;
    }
    Ok(guest)
}

/// Splits at commas outside quotation marks.
fn split(spec: &str) -> Vec<String> {
    let (mut parts, mut quoted) = (vec![String::new()], false);
    for c in spec.chars() {
        quoted ^= c == '"';
        match parts.last_mut() {
            Some(part) if c != ',' || quoted => part.push(c),
            _ => parts.push(String::new()),
        }
    }
    parts
}

fn unquoted(value: &str) -> &str {
    let inner = |mark: char| value.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark));
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

fn kernel(name: &str) -> Kernel {
    match Public::from_name(name) {
        _ if name == OWN_GUEST => Kernel::Own,
        Some(public) => Kernel::Public(public),
        None => Kernel::File(PathBuf::from(name)),
    }
}

/// Reads the assignments of an `xl.cfg` file. Lists (`disk`, `vif`) are for devices, which no domain has yet: one that
/// is not empty is refused.
fn from_file(options: &cli::Qemu, file: &Path, text: &str) -> Result<Guest> {
    let mut guest = plain(options, "guest")?;
    for (index, line) in text.lines().enumerate() {
        let line = without_comment(line).trim();
        if line.is_empty() {
            continue;
        }
        let bad = |why: String| stop::usage(format!("--cfg {}, line {}: {why}", file.display(), index + 1));
        let (name, value) = line.split_once('=').ok_or_else(|| bad("not NAME=VALUE".into()))?;
        let (name, value) = (name.trim(), value.trim());
        if value.starts_with('[') {
            let empty = value.trim_start_matches('[').trim_end_matches(']').trim().is_empty();
            if !empty && name != "cpus" {
                return Err(bad(format!("`{name}`: domains have no devices yet")));
            }
            continue;
        }
        let value = unquoted(value);
        // Files are named from where the configuration lies.
        let value = match name {
            "kernel" if !matches!(kernel(value), Kernel::File(_)) => value.to_owned(),
            "kernel" | "ramdisk" => file.with_file_name(value).to_string_lossy().into_owned(),
            _ => value.to_owned(),
        };
        set(&mut guest, name, &value).map_err(bad)?;
    }
    Ok(guest)
}

/// A line without its comment; a `#` in quotation marks is none.
fn without_comment(line: &str) -> &str {
    let mut mark = None;
    for (index, c) in line.char_indices() {
        match (mark, c) {
            (None, '#') => return &line[..index],
            (None, '"' | '\'') => mark = Some(c),
            (Some(open), c) if c == open => mark = None,
            _ => {}
        }
    }
    line
}

/// Sets one thing by its name in `xl.cfg`.
fn set(guest: &mut Guest, name: &str, value: &str) -> Result<(), String> {
    let config = &mut guest.config;
    let bad = || format!("`{name}={value}` is no value for it");
    let number = |value: &str| value.parse::<u32>().map_err(|_| bad());
    let mib = |value: &str| machine::memory_mib(value).map_err(|error| error.to_string());
    match name {
        "name" => config.name = value.to_owned(),
        "kernel" => guest.kernel = kernel(value),
        "ramdisk" => guest.ramdisk = Some(PathBuf::from(value)),
        "extra" | "cmdline" => {
            config.cmdline = value.to_owned();
            guest.own_arguments = true;
        }
        "domid" => config.domid = u16::try_from(number(value)?).map_err(|_| bad())?,
        "memory" => {
            let follows = config.maxmem_kib == config.memory_kib;
            config.memory_kib = mib(value)? * 1024;
            config.maxmem_kib = config.memory_kib.max(if follows { 0 } else { config.maxmem_kib });
        }
        "maxmem" => config.maxmem_kib = mib(value)? * 1024,
        "vcpus" => config.vcpus = number(value)?,
        "cpus" => config.share.cpus = read_cpus(value).ok_or_else(bad)?,
        "exclusive" => config.share.exclusive = switch(value).ok_or_else(bad)?,
        "cpu_weight" => config.share.weight = u16::try_from(number(value)?).map_err(|_| bad())?,
        "cap" => config.share.cap = number(value)?,
        "on_poweroff" => config.actions.on_poweroff = action(value).ok_or_else(bad)?,
        "on_reboot" => config.actions.on_reboot = action(value).ok_or_else(bad)?,
        "on_crash" => config.actions.on_crash = action(value).ok_or_else(bad)?,
        "on_watchdog" => config.actions.on_watchdog = action(value).ok_or_else(bad)?,
        "patch_sites" => config.patch_sites = switch(value).ok_or_else(bad)?,
        "max_restarts" => config.restarts = number(value)?,
        "machine" => config.machine = Some(MachineKind::from_name(value).ok_or_else(bad)?),
        "type" if value == "pv" => {}
        _ => return Err(format!("`{name}` is not known here")),
    }
    Ok(())
}

fn switch(value: &str) -> Option<bool> {
    match value {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

fn action(value: &str) -> Option<Action> {
    [Action::Destroy, Action::Restart, Action::Preserve].into_iter().find(|action| action.name() == value)
}

impl Guest {
    /// Gives it the common command line, and the word for the demonstration, unless it has its own. Whether it
    /// demonstrates.
    pub fn complete(&mut self, options: &cli::Qemu, demonstration: bool) -> bool {
        let demonstrates = demonstration && !self.own_arguments;
        if !self.own_arguments {
            self.config.cmdline = match &self.kernel {
                Kernel::Public(public) => public
                    .arguments()
                    .into_iter()
                    .chain(options.append.as_deref())
                    .collect::<Vec<_>>()
                    .join(" "),
                Kernel::Own | Kernel::File(_) => machine::guest_arguments(options, demonstration),
            };
        }
        if self.config.machine == Some(MachineKind::Trap) {
            // What a boot loader would say on a bare machine.
            self.config.cmdline = machine::bare_arguments(&self.config.cmdline);
        }
        demonstrates
    }

    /// Reads its kernel and its first file system.
    pub fn read(&self, project: &Project, bring: Bring, built: &Built) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
        let given = |file: &Path, what: &str| {
            fs::read(file).map_err(|error| stop::usage(format!("{what} {}: {error}", file.display())))
        };
        let made = |file: &Path| fs::read(file).with_context(|| format!("reading {}", file.display()));
        let kernel = match &self.kernel {
            Kernel::Own => made(&built.guest)?,
            Kernel::Public(public) => public.kernel(project, bring, built)?,
            Kernel::File(file) => bzimage::unpacked(given(file, "the kernel")?)?,
        };
        let ramdisk = match (&self.ramdisk, &self.kernel) {
            (Some(file), _) => Some(given(file, "the first file system")?),
            (None, Kernel::Public(public)) => public.ramdisk(project, bring)?,
            (None, _) => Some(made(&built.initramfs)?),
        };
        Ok((kernel, ramdisk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn options(words: &[&str]) -> cli::Qemu {
        let words = ["cargo xtask", "qemu"].into_iter().chain(words.iter().copied());
        match cli::Cli::try_parse_from(words).unwrap().command {
            cli::Command::Qemu(options) => *options,
            _ => unreachable!("the word is qemu"),
        }
    }

    #[test]
    fn one_domain_comes_without_asking() {
        let guests = all(&options(&["--memory", "64M", "--vcpus", "2"])).unwrap();
        assert_eq!(guests.len(), 1);
        let config = &guests[0].config;
        assert_eq!((config.name.as_str(), config.memory_kib, config.vcpus), ("guest", 65536, 2));
    }

    #[test]
    fn each_guest_has_what_stands_behind_it() {
        let spec = "pv-guest,name=a,domid=5,memory=32M,maxmem=64,vcpus=3,cpus=0-2,^1,cap=50";
        let refused = all(&options(&["--guest", spec])).unwrap_err();
        assert!(refused.to_string().contains("^1"), "{refused}");
        let spec = "pv-guest,name=a,domid=5,memory=32M,maxmem=64,vcpus=3,cpus=\"0-2,^1\",cap=50,cpu_weight=512,\
                    on_crash=restart,extra=\"role=spin fuzz=1,2\"";
        let guests = all(&options(&["--guest", spec, "--guest", "/k/elf", "--append", "x"])).unwrap();
        let mut first = guests[0].clone();
        assert_eq!(
            (first.config.name.as_str(), first.config.domid, first.kernel.clone()),
            ("a", 5, Kernel::Own)
        );
        assert_eq!((first.config.memory_kib, first.config.maxmem_kib), (32768, 65536));
        assert_eq!((first.config.vcpus, first.config.share.cpus), (3, 0b101));
        assert_eq!((first.config.share.cap, first.config.share.weight), (50, 512));
        assert_eq!(first.config.actions.on_crash, Action::Restart);
        let trap = all(&options(&["--guest", "pv-guest,machine=trap", "--guest", "pv-guest"])).unwrap();
        let machines: Vec<_> = trap.iter().map(|guest| guest.config.machine).collect();
        assert_eq!(machines, [Some(MachineKind::Trap), None], "one domain a PC, the other not");
        assert!(!first.complete(&options(&["--append", "x"]), true));
        assert_eq!(first.config.cmdline, "role=spin fuzz=1,2");
        let mut second = guests[1].clone();
        assert_eq!(
            (second.config.name.as_str(), second.kernel.clone()),
            ("guest2", Kernel::File("/k/elf".into()))
        );
        assert!(second.complete(&options(&["--append", "x"]), true));
        assert_eq!(second.config.cmdline, "demo x");
    }

    #[test]
    fn a_file_of_xl_is_read() {
        let text = "# a guest\nname = \"web\"\ntype='pv'\nkernel = \"vmlinuz\"\nmemory = 256\nvcpus=2\n\
                    extra = \"console=hvc0 # not a comment\"\ncpu_weight = 128 # half\non_reboot = 'restart'\ndisk = [ ]\n";
        let guest = from_file(&options(&[]), Path::new("/etc/xen/web.cfg"), text).unwrap();
        assert_eq!(
            (guest.config.name.as_str(), guest.kernel),
            ("web", Kernel::File("/etc/xen/vmlinuz".into()))
        );
        assert_eq!(guest.config.cmdline, "console=hvc0 # not a comment");
        assert_eq!((guest.config.memory_kib, guest.config.vcpus), (256 * 1024, 2));
        assert_eq!((guest.config.share.weight, guest.config.actions.on_reboot), (128, Action::Restart));
        for (text, named) in [
            ("disk = ['phy:/x,xvda,w']", "disk"),
            ("type = \"hvm\"", "type"),
            ("memory", "line 1"),
            ("on_crash = coredump-restart", "on_crash"),
        ] {
            let error = from_file(&options(&[]), Path::new("a.cfg"), text).unwrap_err();
            assert!(error.to_string().contains(named), "{text}: {error}");
        }
    }
}
