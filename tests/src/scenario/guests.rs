//! What guests do with several vcpus, how they are started again, and how they share a serial line.

use super::statuses::{ends, says};
use super::{Context, Outcome};
use crate::status::Status;
use anyhow::{Context as _, Result, ensure};

/// Threads on four vcpus divide a job, 50 times, with the result that one thread has, on fewer processors: vcpus wait for
/// one another's locks without running.
pub fn overcommitted(context: &Context) -> Result<Outcome> {
    for smp in ["2", "1"] {
        let args = ["--smp", smp, "--memory", "64M", "--guest", "pv-guest,vcpus=4,extra=role=parallel"];
        let driver =
            ends(context.qemu(&args), None, Status::Good).with_context(|| format!("on {smp} processors"))?;
        says(&driver, "ok parallel 50 times 82025 primes")?;
    }
    Ok(Outcome::Passed("50 times on 2 processors, and on 1".into()))
}

/// Vcpus go down and up beside programs that spin: fewer of those than vcpus, as many, and more. Nobody waits for ever for
/// a processor that went away.
pub fn hotplug(context: &Context) -> Result<Outcome> {
    let args = ["--smp", "4", "--vcpus", "4", "--memory", "64M", "--silence", "300"];
    // An emulated processor that spins keeps the host's from the others: a cycle takes most of a second.
    let lines = "hotplug 10 2\nhotplug 10 3\nhotplug 10 6\n";
    let driver = ends(context.qemu(&args), Some(lines), Status::Good)?;
    let good = driver.console.ok_lines();
    let good = good.iter().filter(|line| line.contains("30 times down and up")).count();
    ensure!(good == 3, "{good} of 3 programs say that all is well:\n{}", driver.tail());
    Ok(Outcome::Passed("3 vcpus 30 times down and up, beside 2, 3 and 6 that spin".into()))
}

/// A guest that crashes is started again as its configuration says: by its own word, by the hypervisor's when its stack is
/// gone, and when the frame of an `iret` is. The fourth life ends well, and so does the run.
pub fn restarted(context: &Context) -> Result<Outcome> {
    let guest = "pv-guest,name=phoenix,on_crash=restart,max_restarts=3";
    let args = ["-v", "--memory", "32M", "--hypervisor-append", "paravane.audit", "--guest", guest];
    let driver =
        ends(context.qemu(&args), Some("crash\ncrash stack\ncrash iret\necho alive\n"), Status::Good)?;
    for words in [
        "d1 says that it has crashed",
        "d1v0 crashed: stack pointer",
        "d1v0 crashed: iret context",
        "audit: all counts agree",
    ] {
        says(&driver, words)?;
    }
    let lines = driver.console.lines();
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    ensure!(count("has stopped (Crash): restart") == 3, "not three restarts:\n{}", driver.tail());
    ensure!(lines.iter().any(|line| line == "alive"), "the last life did nothing:\n{}", driver.tail());
    let gone = lines.iter().filter(|line| line.contains("'phoenix' is gone"));
    let free: Vec<&str> = gone.filter_map(|line| line.rsplit("; ").next()).collect();
    ensure!(free.len() == 4 && free.iter().all(|one| *one == free[0]), "frames were lost: {free:?}");
    Ok(Outcome::Passed(format!("three crashes, four lives, each time {}", free[0])))
}
