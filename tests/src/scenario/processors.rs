//! Machines with several processors: that they come up, that one which hangs is found, and that the hypervisor's
//! checks of itself hold while all of them work.

use super::statuses::{ends, says};
use super::{Context, LIMIT, Outcome};
use crate::driver::{Driver, Stdin};
use crate::status::Status;
use anyhow::{Result, bail};

/// Processors of a machine, options of the hypervisor, and what it says then.
const COUNTS: [(&str, &str, &str); 4] = [
    ("1", "", "(PV) 1 processor"),
    ("4", "", "(PV) 4 processors"),
    ("4", "maxcpus=2", "(PV) 2 processors"),
    ("3", "nosmp", "(PV) 1 processor"),
];

/// As many processors come up as there are and as the command line allows, and a guest runs and ends on them.
pub fn counted(context: &Context) -> Result<Outcome> {
    for (smp, options, words) in COUNTS {
        let command = context.qemu(&["-v", "--smp", smp, "--hypervisor-append", options]);
        let driver = ends(command, Some("true\n"), Status::Good)?;
        if !driver.console.lines().iter().any(|line| line.trim_end() == words) {
            bail!("with --smp {smp} and {options:?} no line is {words:?}:\n{}", driver.tail());
        }
    }
    Ok(Outcome::Passed(format!("{} machines", COUNTS.len())))
}

/// A processor that keeps the hypervisor's lock for good is named by another one, with the place where it is.
pub fn watched(context: &Context) -> Result<Outcome> {
    let options = "watchdog_timeout=2 paravane.stall";
    let command = context.qemu(&["--smp", "3", "--hypervisor-append", options]);
    let driver = ends(command, None, Status::HypervisorPanic)?;
    says(&driver, "watchdog: CPU 0 has been in the hypervisor for ")?;
    says(&driver, "CPU 0 was in the hypervisor, RIP 0xffff82d0")
}

/// The hypervisor built with debug assertions runs the demonstration on four processors, and its counts agree.
pub fn checked(context: &Context) -> Result<Outcome> {
    let mut build = std::process::Command::new(&context.xtask);
    build.args(["build", "--checked", "--no-setup"]);
    let mut driver = Driver::start(build, Stdin::Null)?;
    let status = driver.finish(LIMIT * 3)?;
    if !status.success() {
        bail!("building it ended with {status}:\n{}", driver.tail());
    }
    let options = "watchdog watchdog_timeout=30 paravane.audit";
    let driver = context.demonstrate(&[
        "-v",
        "--checked",
        "--smp",
        "4",
        "--vcpus",
        "4",
        "--hypervisor-append",
        options,
    ])?;
    says(&driver, "(PV) 4 processors")?;
    says(&driver, "audit: all counts agree")
}
