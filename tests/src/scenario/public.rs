//! Guests that others made, as their packages have them.

use super::{Context, LIMIT, Outcome, none_left};
use crate::console::Console;
use crate::driver::{Driver, Terminal, shell_status};
use anyhow::{Result, ensure};
use std::time::Duration;

/// Long enough for one command on a busy machine.
const COMMAND: Duration = Duration::from_secs(90);

/// GRUB waits for a line.
fn at_grub(console: &Console) -> bool {
    console.open_line().ends_with("grub> ")
}

/// Types a line to GRUB that has no answer, and waits for the next prompt.
fn tell_grub(driver: &mut Driver, line: &str) -> Result<()> {
    let before = driver.console.lines().len();
    driver.send(line.as_bytes())?;
    driver.send(b"\r")?;
    driver.wait_for(&format!("the prompt after {line:?}"), COMMAND, |console| {
        at_grub(console) && console.lines().len() > before
    })?;
    let answer = &driver.console.lines()[before..];
    ensure!(!answer.iter().any(|line| line.contains("error:")), "{line:?} failed:\n{}", driver.tail());
    Ok(())
}

/// Types a line to GRUB, and waits for the answer and the next prompt. GRUB places the cursor behind each character that it
/// echoes, so the echo is no answer.
fn ask_grub(driver: &mut Driver, line: &str, answer: &str) -> Result<()> {
    let before = driver.console.lines().len();
    driver.send(line.as_bytes())?;
    driver.send(b"\r")?;
    driver.wait_for(&format!("{answer:?} after {line:?}"), COMMAND, |console| {
        at_grub(console) && console.lines()[before..].iter().any(|line| line.contains(answer))
    })
}

/// Debian's PV GRUB finds no disk and prompts; it reads what is typed from the console ring and answers, and powers off.
pub fn grub(context: &Context) -> Result<Outcome> {
    let terminal = Terminal::open()?;
    let mut driver = terminal.start(context.qemu(&["--memory", "32M", "--guest", "pv-grub"]))?;
    driver.wait_for("GRUB's prompt", LIMIT, at_grub)?;
    for words in ["Welcome to GRUB!", "error: no such device: /boot/grub/grub.cfg"] {
        ensure!(
            driver.console.lines().iter().any(|line| line.contains(words)),
            "no {words:?}:\n{}",
            driver.tail()
        );
    }
    ask_grub(&mut driver, "ls", "(memdisk) (proc)")?;
    ask_grub(&mut driver, "cat (memdisk)/grub.cfg", "# Second try looking for grub.cfg")?;
    ask_grub(&mut driver, "cat (memdisk)/none", "error: file `/none' not found.")?;
    driver.send(b"halt\r")?;
    let status = shell_status(driver.finish(LIMIT)?);
    ensure!(status == 0, "it ended with status {status}:\n{}", driver.tail());
    none_left(driver.id())?;
    Ok(Outcome::Passed("prompt, ls, cat, halt".into()))
}

/// GRUB reads this project's kernel and first file system from a memory disk, makes tables for the kernel, and jumps into
/// it: what a kernel finds at its start comes from another builder than the hypervisor's own.
pub fn grub_loads(context: &Context) -> Result<Outcome> {
    let terminal = Terminal::open()?;
    let mut driver = terminal.start(context.qemu(&["--memory", "64M", "--guest", "pv-grub-memdisk"]))?;
    driver.wait_for("GRUB's prompt", LIMIT, at_grub)?;
    ask_grub(&mut driver, "ls (memdisk)/", "greeting.txt pv-guest initramfs")?;
    ask_grub(&mut driver, "cat (memdisk)/greeting.txt", "This file lies on GRUB's memory disk.")?;
    tell_grub(&mut driver, "linux (memdisk)/pv-guest")?;
    tell_grub(&mut driver, "initrd (memdisk)/initramfs")?;
    driver.send(b"boot\r")?;
    driver.wait_for("the shell of the kernel that was loaded", COMMAND, Console::at_prompt)?;
    for (line, answer) in [("ring", "ok kernel-ring "), ("fork", "ok fork "), ("cow", "ok cow ")] {
        let before = driver.console.lines().len();
        driver.send(format!("{line}\r").as_bytes())?;
        driver.wait_for(&format!("{answer:?} after {line:?}"), COMMAND, |console| {
            console.at_prompt() && console.lines()[before..].iter().any(|line| line.contains(answer))
        })?;
    }
    let ring = driver.console.lines().iter().find(|line| line.contains("ok kernel-ring "));
    ensure!(ring.is_some_and(|line| line.contains("ring 3")), "not in ring 3: {ring:?}");
    driver.send(b"poweroff\r")?;
    let status = shell_status(driver.finish(LIMIT)?);
    ensure!(status == 0, "it ended with status {status}:\n{}", driver.tail());
    none_left(driver.id())?;
    Ok(Outcome::Passed("a kernel and its file system loaded and run in ring 3".into()))
}

/// Types a line to the shell that Debian's kernel runs, and waits for a line of the answer.
fn ask_debian(driver: &mut Driver, line: &str, answer: &str) -> Result<()> {
    let before = driver.console.lines().len();
    driver.send(line.as_bytes())?;
    driver.send(b"\r")?;
    driver.wait_for(&format!("{answer:?} after {line:?}"), LIMIT, |console| {
        // The first new line is the typed one, echoed.
        at_debian(console) && console.lines()[before..].iter().skip(1).any(|line| line.contains(answer))
    })
}

/// The shell waits for a line; it asks the terminal for its size behind the prompt.
fn at_debian(console: &Console) -> bool {
    console.open_line().contains("/ # ")
}

/// Debian's unmodified kernel boots in ring 3 with two vcpus, runs BusyBox on its console, and powers off when it is asked to
/// through xenstore.
pub fn debian(context: &Context) -> Result<Outcome> {
    let terminal = Terminal::open()?;
    let args = ["-v", "--smp", "2", "--vcpus", "2", "--memory", "256M", "--guest", "debian"];
    let mut driver = terminal.start(context.qemu(&args))?;
    driver.wait_for("the shell's prompt", LIMIT, at_debian)?;
    let lines = driver.console.lines();
    let version = lines.iter().find(|line| line.contains("Linux version ")).cloned().unwrap_or_default();
    ensure!(version.contains("-cloud-amd64"), "{version:?}");
    ask_debian(&mut driver, "cat /sys/hypervisor/type", "xen")?;
    ask_debian(&mut driver, "grep -c ^processor /proc/cpuinfo", "2")?;
    ask_debian(&mut driver, "cat /sys/devices/system/clocksource/clocksource0/current_clocksource", "xen")?;
    // Processes that come and go, on both processors, and agree.
    let sums = "for i in 1 2 3 4 5 6; do sha256sum /bin/busybox & done >/sums; wait; sort -u /sums | wc -l";
    ask_debian(&mut driver, sums, "1")?;
    driver.send(b"\x01\x01\x01")?;
    driver.wait_for("the hypervisor to listen", COMMAND, |console| {
        console.lines().iter().any(|line| line.contains("*** Serial input to the hypervisor"))
    })?;
    driver.send(b"k1\r")?;
    let status = shell_status(driver.finish(LIMIT)?);
    ensure!(status == 0, "it ended with status {status}:\n{}", driver.tail());
    ensure!(
        driver.console.lines().iter().any(|line| line.contains("reboot: System halted")),
        "it did not stop by itself:\n{}",
        driver.tail()
    );
    none_left(driver.id())?;
    Ok(Outcome::Passed(version))
}
