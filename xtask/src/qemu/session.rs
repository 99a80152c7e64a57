//! A machine's run: carries bytes between the user and the guest's serial line until one side ends it.

use super::monitor::Monitor;
use super::script::Script;
use super::vm::{Streams, Vm};
use crate::run;
use anyhow::{Context, Result};
use paravane_tests::console::Console;
use paravane_tests::status::End;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Ctrl-].
pub const LEAVE: u8 = 0x1d;

/// Longest wait between looks at the clock and at the signals.
const TICK: Duration = Duration::from_millis(200);

/// Most bytes handed to the emulator at once: a pipe that polls writable takes this many without blocking
/// (POSIX: PIPE_BUF is at least 512).
const CHUNK: usize = 512;

/// Where the guest's input comes from.
#[derive(Debug)]
pub enum Input {
    /// A terminal in raw mode.
    Terminal,
    /// Lines for the shell's prompts.
    Script(Script),
    /// Nothing is typed.
    Nothing,
}

/// When a run is given up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// The whole run may take this long.
    pub timeout: Option<Duration>,
    /// This long without a byte from the machine is too long.
    pub silence: Option<Duration>,
}

/// A run under way.
pub struct Session {
    vm: Vm,
    monitor: Monitor,
    streams: Streams,
    input: Input,
    input_open: bool,
    limits: Limits,
    stop: Arc<AtomicBool>,
    console: Console,
    to_guest: Vec<u8>,
    prompt_answered: bool,
    started: Instant,
    heard: Instant,
}

impl Session {
    /// Takes over a machine that was just started. `stop` is set by this command's signal handlers.
    pub fn new(
        vm: Vm,
        monitor: Monitor,
        streams: Streams,
        input: Input,
        limits: Limits,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let now = Instant::now();
        let input_open = !matches!(input, Input::Nothing);
        Self {
            vm,
            monitor,
            streams,
            input,
            input_open,
            limits,
            stop,
            console: Console::default(),
            to_guest: Vec::new(),
            prompt_answered: false,
            started: now,
            heard: now,
        }
    }

    /// Runs to the end; the emulator is gone when this returns.
    pub fn run(mut self) -> Result<(End, Console)> {
        let end = loop {
            if let Some(end) = self.given_up() {
                self.say_registers(end);
                self.vm.kill();
                break end;
            }
            let ready = self.wait()?;
            if ready.errors {
                self.pass_errors()?;
            }
            if ready.output && self.take_output()? == 0 {
                let end = self.vm.wait()?;
                self.pass_errors()?;
                break self.console.last_words().unwrap_or(end);
            }
            if let Some(end) = self.console.last_words() {
                self.vm.kill();
                break end;
            }
            if ready.input
                && let Some(end) = self.take_input()?
            {
                self.vm.kill();
                break end;
            }
            self.answer_prompt();
            if ready.room {
                self.type_to_guest()?;
            }
        };
        if !self.console.open_line().is_empty() {
            println!();
        }
        Ok((end, self.console))
    }

    fn given_up(&mut self) -> Option<End> {
        if self.stop.load(Ordering::Relaxed) {
            return Some(End::Interrupted);
        }
        let now = Instant::now();
        if self.limits.timeout.is_some_and(|limit| now - self.started > limit) {
            return Some(End::TimedOut);
        }
        if self.may_be_quiet() {
            self.heard = now;
        }
        let quiet = self.limits.silence.is_some_and(|limit| now - self.heard > limit);
        quiet.then_some(End::Quiet)
    }

    /// Where a machine stands that hangs: else there is nothing to find out from afterwards.
    fn say_registers(&mut self, end: End) {
        if !matches!(end, End::Quiet | End::TimedOut) {
            return;
        }
        match self.monitor.registers() {
            Ok(text) => run::say(format_args!("where the processors stand:\n{text}")),
            Err(error) => run::say(format_args!("where the processors stand is not known: {error:#}")),
        }
    }

    /// A user who thinks is not a machine that hangs.
    fn may_be_quiet(&self) -> bool {
        match &self.input {
            Input::Terminal => !self.console.lines().is_empty(),
            Input::Script(script) => self.console.at_prompt() && script.waits_for_input(),
            Input::Nothing => false,
        }
    }

    fn wait(&self) -> Result<Ready> {
        let stdin = std::io::stdin();
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.streams.output.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.streams.errors.as_fd(), PollFlags::IN),
        ];
        let room_at = fds.len();
        if !self.to_guest.is_empty() {
            fds.push(PollFd::from_borrowed_fd(self.streams.input.as_fd(), PollFlags::OUT));
        }
        let input_at = fds.len();
        if self.input_open {
            fds.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
        }
        let tick = Timespec { tv_sec: 0, tv_nsec: i64::from(TICK.subsec_nanos()) };
        match poll(&mut fds, Some(&tick)) {
            // A signal: the flag it set is looked at before the next wait.
            Err(rustix::io::Errno::INTR) => return Ok(Ready::default()),
            other => other.context("waiting for the machine")?,
        };
        let any = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Ok(Ready {
            output: any(0),
            // A stream at its end polls ready for ever; it is read once more when the emulator has ended.
            errors: fds[1].revents().contains(PollFlags::IN),
            room: room_at < input_at && any(room_at),
            input: self.input_open && any(input_at),
        })
    }

    fn take_output(&mut self) -> Result<usize> {
        let mut bytes = [0; 4096];
        let count = self.streams.output.read(&mut bytes).context("reading from the machine")?;
        if count > 0 {
            self.heard = Instant::now();
            let before = self.console.own_lines();
            self.console.push(&bytes[..count]);
            // A prompt that is shown again behind a line of somebody else's is no new one.
            if self.console.own_lines() != before {
                self.prompt_answered = false;
            }
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(&bytes[..count]).and_then(|()| stdout.flush()).context("writing the output")?;
        }
        Ok(count)
    }

    fn pass_errors(&mut self) -> Result<()> {
        let mut bytes = [0; 4096];
        let count = self.streams.errors.read(&mut bytes).context("reading QEMU's errors")?;
        std::io::stderr().write_all(&bytes[..count]).context("writing QEMU's errors")
    }

    fn take_input(&mut self) -> Result<Option<End>> {
        let mut bytes = [0; 4096];
        // Not through the standard library's buffer: poll would not see what is in there.
        let count = match rustix::io::read(std::io::stdin(), &mut bytes) {
            Err(rustix::io::Errno::INTR) => return Ok(None),
            other => other.context("reading the input")?,
        };
        match &mut self.input {
            Input::Terminal if count == 0 => Ok(Some(End::Interrupted)),
            Input::Terminal => {
                let leave = bytes[..count].iter().position(|&byte| byte == LEAVE);
                self.to_guest.extend_from_slice(&bytes[..leave.unwrap_or(count)]);
                Ok(leave.map(|_| End::Left))
            }
            Input::Script(script) => {
                if count == 0 {
                    script.end();
                    self.input_open = false;
                } else {
                    script.push(&bytes[..count]);
                }
                Ok(None)
            }
            Input::Nothing => Ok(None),
        }
    }

    /// Types the next line if the shell waits for one.
    fn answer_prompt(&mut self) {
        if let Input::Script(script) = &mut self.input
            && !self.prompt_answered
            && self.console.at_prompt()
            && let Some(line) = script.next()
        {
            self.to_guest.extend_from_slice(&line);
            self.prompt_answered = true;
        }
    }

    fn type_to_guest(&mut self) -> Result<()> {
        let count = self.to_guest.len().min(CHUNK);
        match self.streams.input.write(&self.to_guest[..count]) {
            Ok(written) => {
                self.to_guest.drain(..written);
                Ok(())
            }
            // The emulator is ending; its output says how.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                self.to_guest.clear();
                Ok(())
            }
            Err(error) => Err(error).context("typing to the machine"),
        }
    }
}

/// What has something to do.
#[derive(Clone, Copy, Debug, Default)]
struct Ready {
    output: bool,
    errors: bool,
    room: bool,
    input: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn run(script: &str, input: Input, limits: Limits, stop: bool) -> (End, Console) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let (vm, streams) = Vm::start(command).unwrap();
        let stop = Arc::new(AtomicBool::new(stop));
        let mut session = Session::new(vm, Monitor::hung_up(), streams, input, limits, stop);
        session.input_open = false;
        session.run().unwrap()
    }

    fn lines(text: &[u8]) -> Input {
        let mut script = Script::default();
        script.push(text);
        script.end();
        Input::Script(script)
    }

    #[test]
    fn output_is_kept_and_the_end_reported() {
        let (end, console) =
            run("echo ok a; echo 'demo: 1 ok, 0 failed'; exit 33", Input::Nothing, Limits::default(), false);
        assert_eq!(end, End::Exited(33));
        assert_eq!(console.ok_lines(), ["ok a"]);
    }

    #[test]
    fn lines_are_typed_at_prompts() {
        // Bash alone can read to another character than the newline, without reading ahead.
        let shell = r#"exec bash -c 'while printf "$ "; IFS= read -r -d $'"'\r'"' l; do
                       echo "got $l"; [ "$l" = poweroff ] && exit 33; done'"#;
        let limits = Limits { timeout: Some(Duration::from_secs(20)), silence: None };
        let (end, console) = run(shell, lines(b"one\ntwo\n"), limits, false);
        assert_eq!(end, End::Exited(33));
        let got: Vec<_> = console.lines().iter().filter(|line| line.contains("got ")).collect();
        assert_eq!(got, ["$ got one", "$ got two", "$ got poweroff"]);
    }

    #[test]
    fn time_quiet_and_signals_end_it() {
        let half = Some(Duration::from_millis(300));
        let limits = Limits { timeout: half, silence: None };
        let chatty = "while :; do echo x; sleep 0.05; done";
        assert_eq!(run(chatty, Input::Nothing, limits, false).0, End::TimedOut);
        let limits = Limits { timeout: None, silence: half };
        assert_eq!(run("echo hello; sleep 100", Input::Nothing, limits, false).0, End::Quiet);
        assert_eq!(run("sleep 100", Input::Nothing, Limits::default(), true).0, End::Interrupted);
    }
}
