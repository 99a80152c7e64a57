//! The guest's shell, on a terminal and through a pipe.

use super::{Context, LIMIT, Outcome, emulators_of, none_left};
use crate::driver::{Driver, Stdin, Terminal, shell_status};
use anyhow::{Result, bail};
use rustix::process::Signal;
use rustix::termios::Termios;
use std::time::Duration;

/// Long enough for one small program on a busy machine.
const COMMAND: Duration = Duration::from_secs(90);

const CTRL_C: &[u8] = b"\x03";
const LEAVE: &[u8] = b"\x1d";

/// Starts the shell on a terminal and waits for its first prompt.
fn started(context: &Context, terminal: &Terminal, args: &[&str]) -> Result<Driver> {
    let mut driver = terminal.start(context.qemu(args))?;
    driver.wait_for("the shell's prompt", LIMIT, crate::console::Console::at_prompt)?;
    if !driver.console.lines().iter().any(|line| line.contains("Ctrl-]")) {
        bail!("how to leave is not said at the start:\n{}", driver.tail());
    }
    Ok(driver)
}

/// Types a line and waits until a line of its output is there and the shell prompts again.
fn command(driver: &mut Driver, line: &str, answer: &str) -> Result<()> {
    let before = driver.console.lines().len();
    driver.send(line.as_bytes())?;
    driver.send(b"\r")?;
    driver.wait_for(&format!("{answer:?} after {line:?}"), COMMAND, |console| {
        let lines = console.lines();
        // The first new line is the typed one, echoed.
        lines.len() > before + 1
            && lines[before + 1..].iter().any(|line| line.contains(answer))
            && console.at_prompt()
    })
}

fn same_settings(before: &Termios, terminal: &Terminal) -> Result<()> {
    let after = terminal.settings()?;
    let flags = |t: &Termios| (t.input_modes, t.output_modes, t.local_modes, t.control_modes);
    if flags(before) != flags(&after) {
        bail!("the terminal's settings were {before:?}, now are {after:?}");
    }
    Ok(())
}

/// Commands and their output; Ctrl-C ends the program in the foreground; powering off gives the terminal back.
pub fn terminal(context: &Context) -> Result<Outcome> {
    on_terminal(context, &[])
}

/// Ctrl-C ends the program in the foreground. A key that comes while the shell is still about to start it belongs to the
/// shell, which forgets the line: then it is typed again.
fn interrupted(driver: &mut Driver) -> Result<()> {
    const LINES: usize = 10;
    const KEYS: usize = 5;
    for _ in 0..LINES {
        let lines = driver.console.lines().len();
        driver.send(b"echo started; sleep 1000; echo status $?\r")?;
        driver.wait_for("the line before the program", COMMAND, |console| {
            console.lines()[lines..].iter().any(|line| line == "started")
        })?;
        for _ in 0..KEYS {
            driver.send(CTRL_C)?;
            for _ in 0..10 {
                driver.read_some(Duration::from_millis(100))?;
            }
            if driver.console.lines()[lines..].iter().any(|line| line.contains("status 130")) {
                return Ok(());
            }
            if driver.console.at_prompt() {
                break;
            }
        }
    }
    bail!("Ctrl-C did not end the program in the foreground:\n{}", driver.tail());
}

/// The same on the machine that the options say.
pub(super) fn on_terminal(context: &Context, args: &[&str]) -> Result<Outcome> {
    let terminal = Terminal::open()?;
    let before = terminal.settings()?;
    let mut driver = started(context, &terminal, args)?;
    if terminal.settings()?.local_modes == before.local_modes {
        bail!("the terminal is not raw while the guest has it");
    }
    command(&mut driver, "echo to and fro", "to and fro")?;
    command(&mut driver, "busybox uname -m", "x86_64")?;
    command(&mut driver, "cat /etc/motd", "Paravane")?;
    interrupted(&mut driver)?;
    command(&mut driver, "echo alive", "alive")?;
    driver.send(b"poweroff\r")?;
    let status = shell_status(driver.finish(LIMIT)?);
    if status != 0 {
        bail!("powering off ended with status {status}:\n{}", driver.tail());
    }
    same_settings(&before, &terminal)?;
    none_left(driver.id())?;
    Ok(Outcome::Passed("commands, Ctrl-C, power-off; the settings are back".into()))
}

/// Ctrl-] leaves at once: status 0, the settings are back, no emulator is left.
pub fn leave(context: &Context) -> Result<Outcome> {
    let terminal = Terminal::open()?;
    let before = terminal.settings()?;
    let mut driver = started(context, &terminal, &[])?;
    if emulators_of(driver.id()).is_empty() {
        bail!("the running emulator is not found: the search for leftovers would find nothing");
    }
    driver.send(LEAVE)?;
    let status = shell_status(driver.finish(LIMIT)?);
    if status != 0 {
        bail!("leaving ended with status {status}:\n{}", driver.tail());
    }
    same_settings(&before, &terminal)?;
    none_left(driver.id())?;
    Ok(Outcome::Passed("left with status 0".into()))
}

/// A signal ends the command in good order; even a kill that cannot be caught leaves no emulator.
pub fn killed(context: &Context) -> Result<Outcome> {
    let terminal = Terminal::open()?;
    let before = terminal.settings()?;
    let mut driver = started(context, &terminal, &[])?;
    driver.signal(Signal::TERM)?;
    let status = shell_status(driver.finish(LIMIT)?);
    if status != 130 {
        bail!("SIGTERM ended it with status {status}, not 130:\n{}", driver.tail());
    }
    same_settings(&before, &terminal)?;
    none_left(driver.id())?;
    let mut driver = started(context, &terminal, &[])?;
    let id = driver.id();
    driver.signal(Signal::KILL)?;
    driver.finish(LIMIT)?;
    none_left(id)?;
    Ok(Outcome::Passed("SIGTERM and SIGKILL leave nothing behind".into()))
}

/// Piped lines are typed one for each prompt; the end of the pipe powers off.
pub fn piped(context: &Context) -> Result<Outcome> {
    through_pipe(context, &[])
}

/// The same on the machine that the options say.
pub(super) fn through_pipe(context: &Context, args: &[&str]) -> Result<Outcome> {
    let mut driver = Driver::start(context.qemu(args), Stdin::Pipe)?;
    driver.send(b"echo first line\nbusybox sha256sum /etc/motd\necho last")?;
    driver.close_input();
    let status = shell_status(driver.finish(LIMIT)?);
    if status != 0 {
        bail!("the piped run ended with status {status}:\n{}", driver.tail());
    }
    for answer in ["first line", "  /etc/motd", "last"] {
        if !driver.console.lines().iter().any(|line| line.ends_with(answer) && !line.contains("$ ")) {
            bail!("no output {answer:?} in:\n{}", driver.tail());
        }
    }
    none_left(driver.id())?;
    Ok(Outcome::Passed("three lines, then power-off".into()))
}
