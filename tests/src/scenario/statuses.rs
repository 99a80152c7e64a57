//! Each exit status but 0, which the demonstration shows, is provoked and looked at.

use super::{Context, LIMIT, Outcome, none_left};
use crate::console::Console;
use crate::driver::{Driver, Stdin, shell_status};
use crate::status::Status;
use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use std::process::Command;

/// Runs a command to its end, types some lines, and compares the status.
pub(super) fn ends(command: Command, lines: Option<&str>, wanted: Status) -> Result<Driver> {
    let stdin = if lines.is_some() { Stdin::Pipe } else { Stdin::Null };
    let mut driver = Driver::start(command, stdin)?;
    if let Some(lines) = lines {
        driver.send(lines.as_bytes())?;
        driver.close_input();
    }
    let status = shell_status(driver.finish(LIMIT)?);
    judge(&driver, status, wanted)?;
    Ok(driver)
}

fn judge(driver: &Driver, status: i32, wanted: Status) -> Result<()> {
    if status != i32::from(wanted.code()) {
        bail!("status {status}, not {} ({wanted}); printed last:\n{}", wanted.code(), driver.tail());
    }
    none_left(driver.id())
}

pub(super) fn says(driver: &Driver, words: &str) -> Result<Outcome> {
    if !driver.console.lines().iter().any(|line| line.contains(words)) {
        bail!("nothing says {words:?}:\n{}", driver.tail());
    }
    Ok(Outcome::Passed(format!("it says {words:?}")))
}

/// 1: one digit of a sum that the host computed is changed, and BusyBox in the guest finds another.
pub fn check_failed(context: &Context) -> Result<Outcome> {
    let mut archive = std::fs::read(context.images.join("initramfs.cpio"))?;
    let line_end = b"  /etc/motd\n";
    let at = archive.windows(line_end.len()).position(|window| window == line_end);
    let digit = &mut archive[at.context("no sum of /etc/motd in the initramfs")? - 1];
    *digit = if *digit == b'0' { b'1' } else { b'0' };
    let path = context.scratch.join("wrong-sum.cpio");
    std::fs::write(&path, archive)?;
    let command = context.qemu(&["--initramfs", path.to_str().context("a path in UTF-8")?]);
    let driver = ends(command, None, Status::CheckFailed)?;
    says(&driver, "FAILED busybox-sha256sum")
}

/// 2: a machine that is not there names those that are.
pub fn usage(context: &Context) -> Result<Outcome> {
    let driver = ends(context.qemu(&["--machine", "svm"]), None, Status::Usage)?;
    says(&driver, "pv-ring1")?;
    let pair = ["--hypervisor", "xen", "--machine", "pv-ring1"];
    let driver = ends(context.qemu(&pair), None, Status::Usage)?;
    says(&driver, "pv-ring3")?;
    let driver = ends(context.qemu(&["--no-such-option"]), None, Status::Usage)?;
    says(&driver, "--no-such-option")
}

/// 3: with no emulator to be found and none to be fetched, the command that brings it is named.
pub fn missing(context: &Context) -> Result<Outcome> {
    let empty = context.scratch.join("empty");
    std::fs::create_dir_all(&empty)?;
    let mut command = context.qemu(&[]);
    command.env("PATH", &empty).env("XDG_CACHE_HOME", &empty);
    let driver = ends(command, None, Status::Missing)?;
    says(&driver, "cargo xtask setup")
}

/// 10: the guest's kernel says that it crashed; and it breaks the contract, so that the hypervisor ends it with a
/// report: reason, registers, page walks.
pub fn guest_crash(context: &Context) -> Result<Outcome> {
    let driver = ends(context.qemu(&[]), Some("crash\n"), Status::GuestCrash)?;
    says(&driver, "says that it has crashed")?;
    let driver = ends(context.qemu(&[]), Some("crash stack\n"), Status::GuestCrash)?;
    for words in ["v0 crashed: stack pointer", "(PV) RIP: e069:", "(PV) rax: ", "page walk of"] {
        says(&driver, words)?;
    }
    Ok(Outcome::Passed("both ways to end are told apart and reported".into()))
}

/// 11: a kernel that is no ELF file is nothing the hypervisor can start.
pub fn hypervisor_panic(context: &Context) -> Result<Outcome> {
    let path = context.scratch.join("no-kernel");
    std::fs::write(&path, "this is no kernel\n")?;
    let command = context.qemu(&["--guest", path.to_str().context("a path in UTF-8")?]);
    let driver = ends(command, None, Status::HypervisorPanic)?;
    says(&driver, "PANIC")
}

/// 12: a program that never ends meets `--timeout`.
pub fn hang(context: &Context) -> Result<Outcome> {
    let driver = ends(context.qemu(&["--timeout", "30", "--silence", "500"]), Some("hang\n"), Status::Hang)?;
    says(&driver, "--timeout")
}

/// 13: the same program says nothing for too long.
pub fn silence(context: &Context) -> Result<Outcome> {
    let driver = ends(context.qemu(&["--silence", "20"]), Some("hang\n"), Status::Silence)?;
    // Where it hangs is told with it.
    says(&driver, "CPL=3")?;
    says(&driver, "silent")
}

/// 130: Ctrl-C's signal reaches a run without a terminal.
pub fn interrupted(context: &Context) -> Result<Outcome> {
    let mut driver = Driver::start(context.qemu(&[]), Stdin::Null)?;
    // What `xtask` says itself comes before there is a machine.
    let speaks = |console: &Console| console.lines().iter().any(|line| !line.starts_with("xtask: "));
    driver.wait_for("the machine's first words", LIMIT, speaks)?;
    driver.signal(Signal::INT)?;
    let status = shell_status(driver.finish(LIMIT)?);
    judge(&driver, status, Status::Interrupted)?;
    says(&driver, "interrupted")
}
