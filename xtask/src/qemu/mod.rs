//! `cargo xtask qemu`: boots the hypervisor with a guest, and gives the user its console.

mod bzimage;
mod guests;
mod machine;
mod monitor;
mod native;
mod public;
mod script;
mod session;
mod terminal;
mod vm;
mod xen;

use crate::build::{self, Built, Domain};
use crate::cli;
use crate::project::Project;
use crate::setup::{self, Bring};
use crate::{digest, run};
use anyhow::{Context, Result};
use guests::Guest;
pub use machine::{check, hypervisor_arguments, machine_arguments};
use monitor::Monitor;
pub use native::chosen as without_hypervisor;
use paravane_tests::status::{Expect, Status, verdict};
use rustix::fs::FileType;
use session::{Input, Limits, Session};
use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// Longest time without output before a run that nobody watches is given up.
const SILENCE: Duration = Duration::from_secs(120);

/// Longest time of such a run, unless `--timeout` says otherwise.
const TIMEOUT: Duration = Duration::from_secs(900);

/// Where the guest's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A terminal.
    Terminal,
    /// A pipe or a file.
    Script,
    /// Nowhere: the guest demonstrates.
    Demonstration,
}

/// Runs `qemu`.
pub fn command(project: &Project, options: &cli::Qemu) -> Result<Status> {
    check(options)?;
    let bring = Bring::from_options(&options.setup);
    let mut built = if options.no_build { build::made(project)? } else { build::all(project, bring)? };
    if options.checked {
        built.hypervisor =
            if options.no_build { build::checked_made(project)? } else { build::checked(project, bring)? };
    }
    let qemu = {
        let _lock = setup::lock(project)?;
        setup::qemu::need(project, bring)?
    };
    let mode = mode(options);
    if machine::on_xen(options) {
        return on_xen(project, options, &built, &qemu, mode);
    }
    if native::chosen(options) {
        return on_bare_machine(project, options, &built, &qemu, mode);
    }
    let bundle = Bundle::write(project, "bundle", "cpio", &bundle(project, options, &built, mode)?)?;
    let mut command = qemu.command();
    command.args(machine::qemu_arguments(options, &built.hypervisor, &bundle.path)?);
    run(command, options, mode)
}

/// Runs the guest as the first domain of Debian's Xen, or the guests as domains that a toolstack builds there.
fn on_xen(
    project: &Project,
    options: &cli::Qemu,
    built: &Built,
    qemu: &setup::program::Program,
    mode: Mode,
) -> Result<Status> {
    let bring = Bring::from_options(&options.setup);
    let packed = {
        let _lock = setup::lock(project)?;
        setup::fixtures::xen(project, bring)?
    };
    let mut guests = guests::all(options)?;
    let first = if xen::by_toolstack(options, &guests) {
        let path = build::toolstack_made(project)?;
        let kernel = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        xen::First::toolstack(options, kernel, bundle(project, options, built, mode)?)
    } else {
        let mut guest = guests.remove(0);
        guest.complete(options, mode == Mode::Demonstration);
        let (kernel, ramdisk) = read(project, bring, &guest, built)?;
        xen::First::guest(&guest, kernel, ramdisk.unwrap_or_default())
    };
    let modules = xen::Modules::write(project, &packed, &first)?;
    let mut command = qemu.command();
    command.current_dir(modules.folder()).args(xen::qemu_arguments(options, &first, &modules)?);
    run(command, options, mode)
}

/// Runs the guest without a hypervisor.
fn on_bare_machine(
    project: &Project,
    options: &cli::Qemu,
    built: &Built,
    qemu: &setup::program::Program,
    mode: Mode,
) -> Result<Status> {
    let mut guest = guests::all(options)?.remove(0);
    guest.complete(options, mode == Mode::Demonstration);
    let (kernel, ramdisk) = read(project, Bring::from_options(&options.setup), &guest, built)?;
    // By this name a run's emulator is found.
    let ramdisk = Bundle::write(project, "bundle", "cpio", &ramdisk.unwrap_or_default())?;
    let kernel = Bundle::write(project, "kernel", "elf", &kernel)?;
    let mut command = qemu.command();
    command.args(native::qemu_arguments(options, &guest, &kernel.path, &ramdisk.path));
    run(command, options, mode)
}

/// Runs a machine to its end, with its serial line at this command's input and output.
pub fn run(mut command: Command, options: &cli::Qemu, mode: Mode) -> Result<Status> {
    if options.verbose > 0 {
        run::say(run::shown(&command));
    }
    if let Some(log) = command.get_args().skip_while(|&arg| arg != "-D").nth(1) {
        run::say(format_args!("QEMU's log: {}", log.display()));
    }
    let stop = stop_flag()?;
    if mode == Mode::Terminal {
        run::say("the guest's console: Ctrl-] leaves and stops the machine, Ctrl-C goes to the guest");
    }
    let raw = if mode == Mode::Terminal { Some(terminal::Raw::enter()?) } else { None };
    let monitor = Monitor::attach(&mut command)?;
    let (vm, streams) = vm::Vm::start(command)?;
    let input = match mode {
        Mode::Terminal => Input::Terminal,
        Mode::Script => Input::Script(script::Script::default()),
        Mode::Demonstration => Input::Nothing,
    };
    let ended = Session::new(vm, monitor, streams, input, limits(options, mode), stop).run();
    drop(raw);
    let (end, console) = ended?;
    let expect = match mode {
        Mode::Demonstration if demonstrates(options)? => Expect::Demonstration,
        Mode::Demonstration => Expect::Checks,
        Mode::Terminal | Mode::Script => Expect::PowerOff,
    };
    let (status, text) = verdict(end, expect, &console);
    run::say(text);
    Ok(status)
}

/// Whether a domain runs the demonstration when nobody types: one that has no command line of its own.
fn demonstrates(options: &cli::Qemu) -> Result<bool> {
    Ok(guests::all(options)?.iter_mut().any(|guest| guest.complete(options, true)))
}

/// Where the options and this command's input say that the guest's input comes from.
pub fn mode(options: &cli::Qemu) -> Mode {
    if options.demo || stdin_is_null() {
        Mode::Demonstration
    } else if std::io::stdin().is_terminal() {
        Mode::Terminal
    } else {
        Mode::Script
    }
}

/// Whether standard input is `/dev/null`, which on Linux is character device 1:3.
fn stdin_is_null() -> bool {
    rustix::fs::fstat(std::io::stdin()).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)) == (1, 3)
    })
}

fn limits(options: &cli::Qemu, mode: Mode) -> Limits {
    let timeout = options.timeout.map(Duration::from_secs_f64);
    let silence = options.silence.map(Duration::from_secs_f64);
    if options.gdb.is_some() {
        // A machine in a debugger's hands stands still as long as it is told to.
        return Limits { timeout, silence };
    }
    let timeout = timeout.or((mode != Mode::Terminal).then_some(TIMEOUT));
    Limits { timeout, silence: silence.or(Some(SILENCE)) }
}

/// A flag that SIGINT, SIGTERM and SIGHUP set.
fn stop_flag() -> Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&flag)).context("setting a signal handler")?;
    }
    Ok(flag)
}

/// A domain's kernel and first file system. Says which kernel it is: the same file runs on every machine.
fn read(project: &Project, bring: Bring, guest: &Guest, built: &Built) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let (kernel, ramdisk) = guest.read(project, bring, built)?;
    run::say(format_args!("{}: kernel SHA-256 {}", guest.config.name, digest::of_bytes(&kernel)));
    Ok((kernel, ramdisk))
}

/// The boot archive.
pub fn bundle(project: &Project, options: &cli::Qemu, built: &Built, mode: Mode) -> Result<Vec<u8>> {
    let bring = Bring::from_options(&options.setup);
    let mut domains = Vec::new();
    for mut guest in guests::all(options)? {
        guest.complete(options, mode == Mode::Demonstration);
        let (kernel, ramdisk) = read(project, bring, &guest, built)?;
        domains.push(Domain { kernel, ramdisk, config: guest.config });
    }
    Ok(build::pack_bundle(&domains))
}

/// A file that one run boots from; dropped with it.
struct Bundle {
    path: PathBuf,
}

impl Bundle {
    fn write(project: &Project, name: &str, kind: &str, bytes: &[u8]) -> Result<Self> {
        let folder = project.kernel_target().join("images");
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let path = folder.join(format!("{name}-{}.{kind}", std::process::id()));
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // A file left in the target folder harms nothing.
        let _ = fs::remove_file(&self.path);
    }
}
