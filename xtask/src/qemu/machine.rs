//! From options to the emulator's command line. Pure, apart from naming files.

use super::{guests, native, xen};
use crate::cli;
use crate::stop;
use anyhow::Result;
use paravane_core::build::MachineKind;
use paravane_core::build::devicetree::VCPUS_MAX;
use paravane_core::cmdline::MAX_CPUS;
use std::ffi::OsString;
use std::path::Path;

/// The port the hypervisor writes its verdict to, or a kernel without one; `paravane.exit=` and `exit=` tell them.
pub const EXIT_PORT: &str = "0xf4";

/// What the machine has beyond the guest's memory: the hypervisor, its tables and the modules.
const HYPERVISOR_MIB: u64 = 256;

/// Least memory of a domain: the kernel, its first file system and room to run.
const LEAST_GUEST_MIB: u64 = 16;

/// Most memory of a domain: what the emulated machine maps below and above 4 GiB without further options.
const MOST_GUEST_MIB: u64 = 64 * 1024;

/// Refuses what cannot be, and says what can.
pub fn check(options: &cli::Qemu) -> Result<()> {
    let one_of = |option: &str, value: &str, allowed: &[&str]| {
        if allowed.contains(&value) {
            return Ok(());
        }
        let allowed = allowed.join(", ");
        Err(stop::usage(format!("{option} {value} is not available; allowed: {allowed}")))
    };
    one_of("--hypervisor", &options.hypervisor, &["paravane", xen::NAME])?;
    let machines: &[&str] =
        if on_xen(options) { &["pv-ring3"] } else { &[native::NAME, "pv-ring1", "pv-ring3", "trap"] };
    if let Some(machine) = &options.machine {
        one_of("--machine", machine, machines)?;
    }
    let within = |option: &str, value: u32, most: u32| {
        if (1..=most).contains(&value) {
            return Ok(());
        }
        Err(stop::usage(format!("{option} {value} is not available; allowed: 1 to {most}")))
    };
    within("--smp", options.smp, MAX_CPUS as u32)?;
    within("--vcpus", options.vcpus, VCPUS_MAX)?;
    one_of("--accel", &options.accel, &["tcg", "kvm"])?;
    if options.icount.is_some() && options.accel != "tcg" {
        return Err(stop::usage("--icount counts emulated instructions; allowed with: --accel tcg"));
    }
    if options.cpu.is_some() && options.accel != "tcg" {
        return Err(stop::usage("--cpu chooses an emulated processor; allowed with: --accel tcg"));
    }
    let guests = guests::all(options)?;
    for guest in &guests {
        within("vcpus", guest.config.vcpus, VCPUS_MAX)?;
        match guest.config.machine {
            Some(_) if native::chosen(options) => {
                return Err(stop::usage("a guest's machine= is a hypervisor's; --machine native has none"));
            }
            Some(kind) => one_of("machine", kind.name(), machines)?,
            None => {}
        }
        if guest.config.patch_sites && (on_xen(options) || guest.config.machine != Some(MachineKind::Trap)) {
            return Err(stop::usage(
                "patch_sites=1 is about instructions that do not trap; allowed with: --machine trap",
            ));
        }
    }
    if on_xen(options) {
        xen::check(options, &guests)
    } else if native::chosen(options) {
        native::check(options, &guests)
    } else {
        Ok(())
    }
}

/// Whether the hypervisor is Debian's Xen.
pub fn on_xen(options: &cli::Qemu) -> bool {
    options.hypervisor == xen::NAME
}

/// Reads a size: a number of MiB, or one with K, M or G after it.
pub fn memory_mib(text: &str) -> Result<u64> {
    let bad = |why: &str| stop::usage(format!("--memory {text}: {why}; for example 128M or 1G"));
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..split].parse().map_err(|_| bad("not a size"))?;
    let mib = match text[split..].to_ascii_uppercase().as_str() {
        "" | "M" | "MB" | "MIB" => Some(number),
        "G" | "GB" | "GIB" => number.checked_mul(1024),
        "K" | "KB" | "KIB" if number.is_multiple_of(1024) => Some(number / 1024),
        "K" | "KB" | "KIB" => return Err(bad("not a whole number of MiB")),
        _ => return Err(bad("unknown unit")),
    };
    mib.filter(|mib| (LEAST_GUEST_MIB..=MOST_GUEST_MIB).contains(mib))
        .ok_or_else(|| bad(&format!("allowed: {LEAST_GUEST_MIB}M to {MOST_GUEST_MIB}M")))
}

/// The hypervisor's command line, in Xen's words.
pub fn hypervisor_arguments(options: &cli::Qemu) -> String {
    let levels = match options.verbose {
        0 => "loglvl=warning guest_loglvl=warning",
        1 => "loglvl=info guest_loglvl=info",
        _ => "loglvl=all guest_loglvl=all",
    };
    let mut line = format!("console=com1 com1=115200 {levels} paravane.exit={EXIT_PORT}");
    if let Some(extra) = &options.hypervisor_append {
        line.push(' ');
        line.push_str(extra);
    }
    line
}

/// The guest kernel's command line.
pub fn guest_arguments(options: &cli::Qemu, demonstration: bool) -> String {
    let mut words: Vec<&str> = Vec::new();
    if demonstration {
        words.push("demo");
    }
    words.extend(options.append.as_deref());
    words.join(" ")
}

/// QEMU's arguments for the hypervisor and its boot archive.
pub fn qemu_arguments(options: &cli::Qemu, hypervisor: &Path, bundle: &Path) -> Result<Vec<OsString>> {
    let mut args = machine_arguments(options, &bundle.with_file_name("qemu.log"))?;
    args.extend(["-kernel".into(), hypervisor.as_os_str().to_owned()]);
    args.extend(["-initrd".into(), bundle.as_os_str().to_owned()]);
    args.extend(["-append".into(), hypervisor_arguments(options).into()]);
    Ok(args)
}

/// QEMU's arguments for the machine, without what it boots from. `log` is where its log goes, if one is asked for.
pub fn machine_arguments(options: &cli::Qemu, log: &Path) -> Result<Vec<OsString>> {
    machine_arguments_beside(options, log, 0)
}

/// The same for a machine that has memory for more than the hypervisor and the guests: so many MiB.
pub fn machine_arguments_beside(options: &cli::Qemu, log: &Path, beside: u64) -> Result<Vec<OsString>> {
    let guests: u64 = guests::all(options)?.iter().map(|guest| guest.config.maxmem_kib / 1024).sum();
    Ok(machine_arguments_of(options, log, guests + HYPERVISOR_MIB + beside))
}

/// The command line of a kernel that believes itself on a bare machine.
pub fn bare_arguments(words: &str) -> String {
    format!("exit={EXIT_PORT} {words}").trim_end().to_owned()
}

/// The same for a machine of so many MiB.
pub fn machine_arguments_of(options: &cli::Qemu, log: &Path, memory: u64) -> Vec<OsString> {
    let exit_device = format!("isa-debug-exit,iobase={EXIT_PORT},iosize=0x04");
    let memory = format!("{memory}M");
    let smp = options.smp.to_string();
    let cpu = match (options.accel.as_str(), &options.cpu) {
        ("kvm", _) => "host",
        (_, Some(model)) => model,
        // With SMAP on, QEMU 7.2 faults an `iretq` of ring 3's, which Xen lets its guests execute: it reads the stack as
        // a supervisor.
        _ if on_xen(options) => "max,-smap",
        _ => "max",
    };
    let mut args: Vec<OsString> = [
        ["-accel", options.accel.as_str()],
        ["-cpu", cpu],
        ["-machine", "q35"],
        ["-m", &memory],
        ["-smp", &smp],
    ]
    .concat()
    .into_iter()
    .map(OsString::from)
    .collect();
    args.extend(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"].map(OsString::from));
    // Not stdio's own handling of signals and of the terminal: this command does both.
    args.extend(["-chardev", "stdio,id=com1,signal=off", "-serial", "chardev:com1"].map(OsString::from));
    args.extend(["-device".into(), exit_device.into()]);
    if let Some(shift) = options.icount {
        args.extend(["-icount".into(), format!("shift={shift},sleep=off").into()]);
        // Runs repeat only if the clock does: how long a hypervisor waits for the next second is part of its start.
        args.extend(["-rtc", "base=2026-01-01T00:00:00,clock=vm"].map(OsString::from));
    }
    if let Some(address) = &options.gdb {
        args.extend(["-gdb".into(), OsString::from(address)]);
        if options.gdb_wait {
            args.push("-S".into());
        }
    }
    if let Some(items) = &options.qemu_log {
        args.extend(["-d".into(), OsString::from(items)]);
        args.extend(["-D".into(), log.as_os_str().to_owned()]);
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use paravane_tests::status::Status;

    fn options(words: &str) -> cli::Qemu {
        let words = ["cargo xtask", "qemu"].into_iter().chain(words.split_whitespace());
        match cli::Cli::try_parse_from(words).unwrap().command {
            cli::Command::Qemu(options) => *options,
            _ => unreachable!("the word is qemu"),
        }
    }

    #[test]
    fn what_cannot_be_names_what_can() {
        for (words, allowed) in [
            ("--machine svm", "native, pv-ring1, pv-ring3, trap"),
            ("--hypervisor kvm", "paravane, xen"),
            ("--hypervisor xen --machine pv-ring1", "pv-ring3"),
            ("--hypervisor xen --machine native", "pv-ring3"),
            ("--machine native --vcpus 2", "--vcpus 1"),
            ("--machine native --smp 2", "--smp 1"),
            ("--machine native --guest pv-guest --guest pv-guest", "one --guest"),
            ("--machine native --guest debian", "--guest pv-guest"),
            ("--machine native --checked", "pv-ring1, pv-ring3"),
            ("--hypervisor xen --guest pv-guest --guest pv-guest,cap=20", "cap"),
            ("--hypervisor xen --domu --guest pv-guest,cpus=0", "cpus"),
            ("--hypervisor xen --checked", "--hypervisor paravane"),
            ("--hypervisor xen --vcpus 2", "--smp 2"),
            ("--smp 65", "1 to 64"),
            ("--vcpus 0", "1 to 32"),
            ("--guest pv-guest,vcpus=33", "1 to 32"),
            ("--guest pv-guest,colour=red", "colour"),
            ("--hypervisor xen --guest pv-guest,machine=trap", "pv-ring3"),
            ("--machine native --guest pv-guest,machine=trap", "has none"),
            ("--machine trap --guest pv-guest,patch_sites=yes", "patch_sites"),
            ("--guest pv-guest,patch_sites=1", "--machine trap"),
            ("--machine native --guest pv-guest,patch_sites=1", "--machine trap"),
            ("--accel kvm --cpu max,-umip", "--accel tcg"),
            ("--accel hax", "tcg, kvm"),
            ("--icount --accel kvm", "--accel tcg"),
            ("--memory 1", "16M"),
        ] {
            let error = check(&options(words)).unwrap_err();
            assert_eq!(stop::status_of(&error), Status::Usage, "{words}");
            assert!(error.to_string().contains(allowed), "{words}: {error}");
        }
        assert!(check(&options("")).is_ok());
        assert!(check(&options("--machine pv-ring1 --smp 4 --icount")).is_ok());
        assert!(check(&options("--machine pv-ring3")).is_ok());
        assert!(check(&options("--machine trap --guest pv-guest,patch_sites=1")).is_ok());
        assert!(check(&options("--machine native --icount --memory 64M")).is_ok());
        assert!(check(&options("--hypervisor xen --machine pv-ring3 --smp 2 --vcpus 2")).is_ok());
        assert!(check(&options("--hypervisor xen --domu --vcpus 2")).is_ok());
        assert!(check(&options("--hypervisor xen --guest pv-guest --guest pv-guest")).is_ok());
    }

    #[test]
    fn sizes() {
        for (text, mib) in [("64", 64), ("64M", 64), ("1g", 1024), ("65536K", 64), ("2GiB", 2048)] {
            assert_eq!(memory_mib(text).unwrap(), mib, "{text}");
        }
        for text in ["", "M", "1T", "65537K", "-5", "99999999999999999999", "18446744073709551615G", "15"] {
            assert!(memory_mib(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_command_line_has_what_the_options_say() {
        let text = |words: &str| {
            let args =
                qemu_arguments(&options(words), Path::new("/i/paravane.elf"), Path::new("/i/bundle.cpio"))
                    .unwrap();
            args.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ")
        };
        let plain = text("");
        assert!(plain.contains("-kernel /i/paravane.elf -initrd /i/bundle.cpio"), "{plain}");
        assert!(
            plain.contains("isa-debug-exit,iobase=0xf4,iosize=0x04") && plain.contains("paravane.exit=0xf4")
        );
        for absent in ["-icount", "-gdb", "-S", " -d "] {
            assert!(!plain.contains(absent), "{absent} in {plain}");
        }
        assert!(
            text("--icount").contains("-icount shift=0,sleep=off -rtc base=2026-01-01T00:00:00,clock=vm")
        );
        assert!(text("--icount=3").contains("-icount shift=3,sleep=off"));
        assert!(text("--gdb").contains("-gdb tcp::1234"));
        assert!(text("--gdb=unix:/tmp/s,server=on,wait=off").contains("-gdb unix:/tmp/s,server=on,wait=off"));
        assert!(text("--cpu max,-umip").contains("-cpu max,-umip "));
        assert!(text("--qemu-log int").contains("-d int -D /i/qemu.log"));
        assert!(text("--memory 1G").contains("-m 1280M"));
        assert!(text("--guest pv-guest --guest pv-guest,memory=64M --smp 4").contains("-m 448M -smp 4"));
        assert!(text("-vv").contains("loglvl=all guest_loglvl=all"));
        assert!(text("--hypervisor-append x=y").ends_with("paravane.exit=0xf4 x=y"));
    }

    #[test]
    fn a_bare_machine_boots_the_kernel_itself() {
        let options = options("--machine native --memory 64M --icount");
        let mut guest = guests::all(&options).unwrap().remove(0);
        guest.complete(&options, true);
        let files = (Path::new("/i/kernel.elf"), Path::new("/i/bundle.cpio"));
        let args = native::qemu_arguments(&options, &guest, files.0, files.1);
        let text = args.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ");
        for part in [
            "-cpu max",
            "-m 64M",
            "-kernel /i/kernel.elf -initrd /i/bundle.cpio -append exit=0xf4 demo",
            "isa-debug-exit,iobase=0xf4,iosize=0x04",
            "-icount shift=0,sleep=off",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
    }

    #[test]
    fn the_guest_is_told_to_demonstrate() {
        assert_eq!(guest_arguments(&options(""), true), "demo");
        assert_eq!(guest_arguments(&options("--append quiet"), true), "demo quiet");
        assert_eq!(guest_arguments(&options("--append quiet"), false), "quiet");
        assert_eq!(guest_arguments(&options(""), false), "");
    }
}
