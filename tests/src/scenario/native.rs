//! The guest kernel without a hypervisor: the shell, and the ends of a run.

use super::statuses::{ends, says};
use super::{Context, Outcome, shell};
use crate::status::Status;
use anyhow::Result;

/// The options that choose the machine.
pub(super) const MACHINE: [&str; 2] = ["--machine", "native"];

/// A command with these words besides.
fn with<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [&MACHINE, words].concat()
}

/// The shell: on a terminal, where keys come by the serial port's interrupt, and through a pipe.
pub fn shell(context: &Context) -> Result<Outcome> {
    shell::on_terminal(context, &MACHINE)?;
    shell::through_pipe(context, &MACHINE)?;
    Ok(Outcome::Passed("on a terminal and through a pipe".into()))
}

/// Each way in which the kernel ends the run gives the status that it gives on the hypervisor.
pub fn statuses(context: &Context) -> Result<Outcome> {
    let run = |words: &[&str]| context.qemu(&with(words));
    let driver = ends(run(&[]), Some("crash\n"), Status::GuestCrash)?;
    says(&driver, "crash asked for")?;
    // There is no frame to be pushed where the stack is: the third fault in a row would end the machine without a word.
    let driver = ends(run(&[]), Some("crash stack\n"), Status::GuestCrash)?;
    says(&driver, "kernel panic: ")?;
    says(&driver, "double fault")?;
    ends(run(&[]), Some("reboot\n"), Status::Good)?;
    let driver = ends(run(&["--timeout", "20", "--silence", "500"]), Some("hang\n"), Status::Hang)?;
    says(&driver, "--timeout")?;
    let driver = ends(run(&["--vcpus", "2"]), None, Status::Usage)?;
    says(&driver, "--vcpus 1")?;
    let driver = ends(run(&["--hypervisor", "xen"]), None, Status::Usage)?;
    says(&driver, "pv-ring3")?;
    Ok(Outcome::Passed("crash, double fault, reboot, hang and usage are told apart".into()))
}
