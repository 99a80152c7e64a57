//! What guests do with several vcpus, how they are started again, and how they share a serial line.

use super::statuses::{ends, says};
use super::{Context, LIMIT, Outcome, none_left};
use crate::console::Console;
use crate::driver::{Terminal, shell_status};
use crate::status::Status;
use anyhow::{Context as _, Result, ensure};
use std::time::Duration;

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

/// What hands the console on.
const SWITCH: &[u8] = b"\x01\x01\x01";

/// How often the hypervisor has said that a domain has the console.
fn given_to(console: &Console, domain: u16) -> usize {
    let words = format!("(PV) *** Serial input to DOM{domain} ");
    console.lines().iter().filter(|line| line.starts_with(&words)).count()
}

/// Two domains with a shell each on one terminal: one has it, the other's lines are marked, and the key hands it on.
pub fn consoles(context: &Context) -> Result<Outcome> {
    const ANSWER: Duration = Duration::from_secs(120);
    let terminal = Terminal::open()?;
    let mut driver = terminal.start(context.qemu(&[
        "-v",
        "--memory",
        "32M",
        "--guest",
        "pv-guest,name=a",
        "--guest",
        "pv-guest,name=b",
    ]))?;
    driver.wait_for("the first shell's prompt", LIMIT, Console::at_prompt)?;
    let line = |text: &'static str| move |console: &Console| console.lines().iter().any(|line| line == text);
    driver.send(b"echo first\r")?;
    driver.wait_for("the first one's answer", ANSWER, line("first"))?;
    // What it prints is not what is typed, whose echo may be cut anywhere by the switch.
    driver.send(b"sleep 2; echo marked-$?\r")?;
    driver.send(SWITCH)?;
    driver.wait_for("word of the switch", ANSWER, |console| given_to(console, 2) == 1)?;
    driver.wait_for("the second one's prompt", LIMIT, Console::at_prompt)?;
    driver.send(b"echo second\r")?;
    driver.wait_for("the second one's answer", ANSWER, line("second"))?;
    // It begins with what the first one printed of its line after the console went away.
    driver.wait_for("the first one's line, marked", ANSWER, |console| {
        console.lines().iter().any(|line| line.starts_with("(d1) ") && line.ends_with("marked-0"))
    })?;
    driver.send(b"poweroff\r")?;
    // It had the console at the start too. What is typed before it has it again is for the other, and goes with that.
    driver.wait_for("the first to have the console again", ANSWER, |console| given_to(console, 1) == 2)?;
    driver.send(b"poweroff\r")?;
    let status = shell_status(driver.finish(LIMIT)?);
    ensure!(status == 0, "it ended with status {status}:\n{}", driver.tail());
    none_left(driver.id())?;
    Ok(Outcome::Passed("typed to both, and each line stands alone".into()))
}

/// The hypervisor's keys ask one of two domains to power off, by xenstore, and then all that are left.
pub fn asked(context: &Context) -> Result<Outcome> {
    const ANSWER: Duration = Duration::from_secs(120);
    let terminal = Terminal::open()?;
    let guests = ["--guest", "pv-guest,name=a", "--guest", "pv-guest,name=b"];
    let mut driver = terminal.start(context.qemu(&[&["-v", "--memory", "32M"][..], &guests].concat()))?;
    driver.wait_for("the first shell's prompt", LIMIT, Console::at_prompt)?;
    driver.send(SWITCH)?;
    driver.wait_for("word of the switch", ANSWER, |console| given_to(console, 2) == 1)?;
    // A domain that is up has told xenstore what it listens to.
    driver.wait_for("the second one's prompt", LIMIT, Console::at_prompt)?;
    driver.send(SWITCH)?;
    let says = |words: &'static str| {
        move |console: &Console| console.lines().iter().any(|line| line.contains(words))
    };
    driver.wait_for("the hypervisor to listen", ANSWER, says("*** Serial input to the hypervisor"))?;
    driver.send(b"k2\r")?;
    driver.wait_for("the second one's end", ANSWER, says("d2 'b' has stopped (PowerOff)"))?;
    ensure!(!driver.console.lines().iter().any(|line| line.contains("d1 'a'")), "both:\n{}", driver.tail());
    driver.send(b"k\r")?;
    let status = shell_status(driver.finish(LIMIT)?);
    ensure!(status == 0, "it ended with status {status}:\n{}", driver.tail());
    says("d1 'a' is asked: poweroff")(&driver.console)
        .then_some(())
        .context("it ended without being asked")?;
    none_left(driver.id())?;
    Ok(Outcome::Passed("one of two, then the other".into()))
}
