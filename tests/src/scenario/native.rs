//! The guest kernel without a hypervisor: the shell, and the ends of a run.

use super::statuses::{ends, says};
use super::{Context, Outcome, shell};
use crate::status::Status;
use anyhow::Result;

/// The options that choose the machine.
pub(super) const MACHINE: [&str; 2] = ["--machine", "native"];
/// Those that choose the one that pretends to be it.
const TRAP: [&str; 2] = ["--machine", "trap"];

/// The shell: on a terminal, where keys come by the serial port's interrupt, and through a pipe.
pub fn shell(context: &Context) -> Result<Outcome> {
    shell_on(context, &MACHINE)
}

/// The shell where the serial port and its interrupts are virtual.
pub fn shell_trapped(context: &Context) -> Result<Outcome> {
    shell_on(context, &TRAP)
}

fn shell_on(context: &Context, machine: &[&str]) -> Result<Outcome> {
    shell::on_terminal(context, machine)?;
    shell::through_pipe(context, machine)?;
    Ok(Outcome::Passed("on a terminal and through a pipe".into()))
}

/// Each way in which the kernel ends the run gives the status that it gives on the hypervisor.
pub fn statuses(context: &Context) -> Result<Outcome> {
    ends_on(context, &MACHINE)?;
    let run = |words: &[&str]| context.qemu(&[&MACHINE, words].concat());
    let driver = ends(run(&["--vcpus", "2"]), None, Status::Usage)?;
    says(&driver, "--vcpus 1")?;
    let driver = ends(run(&["--hypervisor", "xen"]), None, Status::Usage)?;
    says(&driver, "pv-ring3")?;
    Ok(Outcome::Passed("crash, double fault, reboot, hang and usage are told apart".into()))
}

/// The same where the hypervisor reads what the kernel writes to the exit port.
pub fn statuses_trapped(context: &Context) -> Result<Outcome> {
    ends_on(context, &TRAP)?;
    Ok(Outcome::Passed("crash, double fault, reboot and hang are told apart".into()))
}

fn ends_on(context: &Context, machine: &[&str]) -> Result<()> {
    let run = |words: &[&str]| context.qemu(&[machine, words].concat());
    let driver = ends(run(&[]), Some("crash\n"), Status::GuestCrash)?;
    says(&driver, "crash asked for")?;
    // There is no frame to be pushed where the stack is: the third fault in a row would end the machine without a word.
    let driver = ends(run(&[]), Some("crash stack\n"), Status::GuestCrash)?;
    says(&driver, "kernel panic: ")?;
    says(&driver, "double fault")?;
    ends(run(&[]), Some("reboot\n"), Status::Good)?;
    let driver = ends(run(&["--timeout", "20", "--silence", "500"]), Some("hang\n"), Status::Hang)?;
    says(&driver, "--timeout").map(drop)
}
