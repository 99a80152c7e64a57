//! Runs a command of the project as a user would, at a pseudo-terminal or through pipes, and reads along.

use crate::console::Console;
use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A command under way, with everything it has printed.
#[derive(Debug)]
pub struct Driver {
    child: Child,
    input: Option<File>,
    output: File,
    ended: bool,
    /// What was printed so far.
    pub console: Console,
}

/// What a command reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// `/dev/null`.
    Null,
    /// A pipe that the driver types into.
    Pipe,
}

/// A pseudo-terminal: the driver has one end, a command the other.
#[derive(Debug)]
pub struct Terminal {
    master: OwnedFd,
    slave: File,
}

impl Terminal {
    /// Opens one.
    pub fn open() -> Result<Self> {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .context("opening a pseudo-terminal")?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let path = PathBuf::from(name.to_str().context("a pseudo-terminal's name is a path")?);
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let slave = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
        tcsetwinsize(&slave, Winsize { ws_row: 50, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 })?;
        Ok(Self { master, slave: File::from(slave) })
    }

    /// Its settings now.
    pub fn settings(&self) -> Result<Termios> {
        tcgetattr(&self.slave).context("reading the terminal's settings")
    }

    /// Starts a command with this as its controlling terminal.
    pub fn start(&self, mut command: Command) -> Result<Driver> {
        for set in [Command::stdin, Command::stdout, Command::stderr] {
            set(&mut command, Stdio::from(self.slave.try_clone()?));
        }
        // SAFETY: setsid(2) and ioctl(2) alone are called between fork and exec; neither allocates nor locks.
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                rustix::process::ioctl_tiocsctty(std::io::stdin())?;
                Ok(())
            });
        }
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let master = File::from(self.master.try_clone()?);
        let input = Some(master.try_clone()?);
        Ok(Driver { child, input, output: master, ended: false, console: Console::default() })
    }
}

impl Driver {
    /// Starts a command with standard output and error in one pipe.
    pub fn start(mut command: Command, stdin: Stdin) -> Result<Self> {
        let (reader, writer) = std::io::pipe()?;
        command.stdout(writer.try_clone()?).stderr(writer);
        command.stdin(if stdin == Stdin::Pipe { Stdio::piped() } else { Stdio::null() });
        command.process_group(0);
        let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let input = child.stdin.take().map(|pipe| File::from(OwnedFd::from(pipe)));
        let output = File::from(OwnedFd::from(reader));
        Ok(Self { child, input, output, ended: false, console: Console::default() })
    }

    /// The command's process number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Types bytes.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let input = self.input.as_mut().context("this command's input is closed")?;
        input.write_all(bytes).and_then(|()| input.flush()).context("typing")
    }

    /// Ends the input.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process number")?;
        kill_process(id, signal).context("sending a signal")
    }

    /// Reads until the condition holds of what was printed; an error tells what was printed last.
    pub fn wait_for(
        &mut self,
        what: &str,
        limit: Duration,
        mut holds: impl FnMut(&Console) -> bool,
    ) -> Result<()> {
        let start = Instant::now();
        while !holds(&self.console) {
            if start.elapsed() > limit {
                bail!("waited {limit:?} for {what}; printed last:\n{}", self.tail());
            }
            if !self.read_some(Duration::from_millis(100))? {
                if holds(&self.console) {
                    break;
                }
                bail!("ended before {what}; printed last:\n{}", self.tail());
            }
        }
        Ok(())
    }

    /// Reads what comes within the time; false when the output has ended.
    pub fn read_some(&mut self, limit: Duration) -> Result<bool> {
        let mut fds = [PollFd::from_borrowed_fd(self.output.as_fd(), PollFlags::IN)];
        let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(limit.subsec_nanos()) };
        match poll(&mut fds, Some(&limit)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(true),
            other => other.context("waiting for output")?,
        };
        let mut bytes = [0; 4096];
        // A pseudo-terminal whose other end is closed by all gives EIO instead of an end (tty_ioctl(4)).
        let count = match rustix::io::read(&self.output, &mut bytes) {
            Err(rustix::io::Errno::IO) => 0,
            Err(rustix::io::Errno::INTR) => return Ok(true),
            other => other.context("reading output")?,
        };
        self.console.push(&bytes[..count]);
        Ok(count > 0)
    }

    /// Reads until the command ends.
    pub fn finish(&mut self, limit: Duration) -> Result<ExitStatus> {
        match self.ended_within(limit)? {
            Some(status) => Ok(status),
            None => bail!("still running after {limit:?}; printed last:\n{}", self.tail()),
        }
    }

    /// Reads until the command ends, or for this long.
    pub fn ended_within(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.ended = true;
                // What lies in the pipe still belongs to the command; a terminal's other end stays open.
                while self.has_output()? && self.read_some(Duration::ZERO)? {}
                return Ok(Some(status));
            }
            if start.elapsed() > limit {
                return Ok(None);
            }
            if !self.read_some(Duration::from_millis(50))? {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn has_output(&self) -> Result<bool> {
        let mut fds = [PollFd::from_borrowed_fd(self.output.as_fd(), PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        Ok(poll(&mut fds, Some(&now)).context("looking for output")? > 0)
    }

    /// The last lines, for messages.
    #[must_use]
    pub fn tail(&self) -> String {
        let lines = self.console.lines();
        let mut text = lines[lines.len().saturating_sub(25)..].join("\n");
        text.push('\n');
        text.push_str(&self.console.open_line());
        text
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if !self.ended {
            // It may have ended by itself; then there is nothing to kill, only to reap.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A process's end as the shell's `$?` gives it.
#[must_use]
pub fn shell_status(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::termios::LocalModes;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn pipes_carry_both_ways() {
        let mut driver =
            Driver::start(shell("read x; echo got $x; echo err >&2; exit 3"), Stdin::Pipe).unwrap();
        driver.send(b"word\n").unwrap();
        driver.wait_for("the answer", LIMIT, |c| c.lines().iter().any(|line| line == "got word")).unwrap();
        let status = driver.finish(LIMIT).unwrap();
        assert_eq!(shell_status(status), 3);
        assert_eq!(driver.console.lines(), ["got word", "err"]);
    }

    #[test]
    fn a_terminal_turns_a_key_into_a_signal() {
        let terminal = Terminal::open().unwrap();
        assert!(terminal.settings().unwrap().local_modes.contains(LocalModes::ISIG));
        // A test run in the background of a script was started with the interrupt ignored, and children inherit that.
        let script = "exec env --default-signal=INT sh -c 'tty -s && echo ready; exec sleep 100'";
        let mut driver = terminal.start(shell(script)).unwrap();
        driver.wait_for("ready", LIMIT, |c| c.lines().iter().any(|line| line == "ready")).unwrap();
        driver.send(b"\x03").unwrap();
        assert_eq!(shell_status(driver.finish(LIMIT).unwrap()), 130);
    }

    #[test]
    fn waiting_for_what_never_comes_shows_what_came() {
        let mut driver = Driver::start(shell("echo something else"), Stdin::Null).unwrap();
        let error = driver.wait_for("a word", LIMIT, |c| c.lines().len() > 9).unwrap_err();
        assert!(error.to_string().contains("something else"), "{error}");
    }
}
