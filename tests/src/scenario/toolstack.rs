//! Domains that the toolstack builds on real Xen.

use super::{Context, LIMIT, Outcome};
use crate::console::unmarked;
use crate::driver::{Driver, Stdin};
use crate::status::Status;
use anyhow::{Context as _, Result, ensure};

/// One is crashed by Xen and one is built again, beside a third that goes on. Each line is marked with its domain.
pub fn on_xen(context: &Context) -> Result<Outcome> {
    let guests = [
        "pv-guest,name=crash,extra=role=crash-iret",
        "pv-guest,name=again,extra=role=reboot,on_reboot=restart,max_restarts=2",
        "pv-guest,name=hammer,vcpus=2,extra=role=hammer seconds=4",
    ];
    let mut args = vec!["--hypervisor", "xen", "--hypervisor-append", "conswitch=ax", "--memory", "24M"];
    args.extend(guests.into_iter().flat_map(|guest| ["--guest", guest]));
    let mut driver = Driver::start(context.qemu(&args), Stdin::Null)?;
    let ended = driver.finish(LIMIT)?;
    ensure!(
        ended.code() == Some(i32::from(Status::GuestCrash.code())),
        "ended with {ended}; printed last:\n{}",
        driver.tail()
    );
    let place = |text: &str| {
        let at = driver.console.lines().iter().position(|line| line.starts_with(text));
        at.with_context(|| format!("no line begins with `{text}`; printed last:\n{}", driver.tail()))
    };
    let crashed = place("toolstack: domain 1 crash ended: crash")?;
    ensure!(place("(d1) ok crash-iret")? < crashed, "it was destroyed before its last words");
    let hammered = place("(d3) ok hammer")?;
    ensure!(crashed < hammered, "nothing shows that the others outlive it:\n{}", driver.tail());
    ensure!(hammered < place("toolstack: domain 3 hammer ended: poweroff")?, "{}", driver.tail());
    let lines = driver.console.lines();
    let lives = lines.iter().filter(|line| *line == "toolstack: domain 2 again ended: reboot").count();
    ensure!(lives == 3, "{lives} lives, not 3:\n{}", driver.tail());
    Ok(Outcome::Passed(format!("3 domains, 5 lives; {}", unmarked(&lines[hammered]))))
}
