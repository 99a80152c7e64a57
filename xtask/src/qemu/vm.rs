//! The emulator as a child process that cannot outlive this one.

use crate::run;
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group, set_parent_process_death_signal};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};

/// A running emulator. Dropping it ends it.
#[derive(Debug)]
pub struct Vm {
    child: Child,
    ended: bool,
}

/// The emulator's standard streams.
#[derive(Debug)]
pub struct Streams {
    /// To the guest's serial line.
    pub input: ChildStdin,
    /// From the guest's serial line.
    pub output: ChildStdout,
    /// QEMU's own complaints.
    pub errors: ChildStderr,
}

impl Vm {
    /// Starts it in a process group of its own, so that a terminal's Ctrl-C does not reach it.
    pub fn start(mut command: Command) -> Result<(Self, Streams)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        // SAFETY: between fork and exec only prctl(2) is called, which allocates nothing and takes no lock.
        unsafe {
            command.pre_exec(|| {
                // The kernel ends the emulator if this process is killed without a chance to do so.
                set_parent_process_death_signal(Some(Signal::KILL))?;
                Ok(())
            });
        }
        let mut child = command.spawn().with_context(|| format!("starting {}", run::shown(&command)))?;
        let streams = Streams {
            input: child.stdin.take().context("no pipe to QEMU")?,
            output: child.stdout.take().context("no pipe from QEMU")?,
            errors: child.stderr.take().context("no pipe for QEMU's errors")?,
        };
        Ok((Self { child, ended: false }, streams))
    }

    /// Waits for it to end by itself, which it is about to.
    pub fn wait(&mut self) -> Result<paravane_tests::status::End> {
        use paravane_tests::status::End;
        let status = self.child.wait().context("waiting for QEMU")?;
        self.ended = true;
        Ok(match status.signal() {
            Some(signal) => End::Killed(signal),
            None => End::Exited(status.code().unwrap_or(-1)),
        })
    }

    /// Ends it now.
    pub fn kill(&mut self) {
        if self.ended {
            return;
        }
        // The group has the child's number; it is not reaped yet, so the number is still its own.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself a moment ago, which is just as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
        self.ended = true;
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use paravane_tests::status::End;

    /// Whether a process of the group runs. One that has ended, but waits for the system's first process to
    /// take note of it, does not.
    fn runs(group: u32) -> bool {
        std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            // proc_pid_stat(5): the name, in parentheses, may hold blanks; state, parent and group follow it.
            let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            fields.next().is_some_and(|state| state != "Z") && fields.nth(1) == Some(&group.to_string())
        })
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn dropping_ends_the_whole_group() {
        let (vm, _streams) = Vm::start(shell("sleep 1000 & sleep 1000")).unwrap();
        let group = vm.child.id();
        assert!(runs(group));
        drop(vm);
        let gone = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            !runs(group)
        });
        assert!(gone, "a process of the group is left");
    }

    #[test]
    fn ends_are_told_apart() {
        let (mut vm, _streams) = Vm::start(shell("exit 33")).unwrap();
        assert_eq!(vm.wait().unwrap(), End::Exited(33));
        let (mut vm, _streams) = Vm::start(shell("kill -TERM $$")).unwrap();
        assert_eq!(vm.wait().unwrap(), End::Killed(15));
    }
}
