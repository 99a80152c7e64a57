//! QEMU's machine protocol (QMP), to ask a machine that is given up where its processors stand.

use anyhow::{Context, Result, bail};
use rustix::io::{FdFlags, fcntl_setfd};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// Longest wait for an answer: one that has none is a hung emulator, not a hung machine.
const LIMIT: Duration = Duration::from_secs(5);

/// This command's end of the line to QEMU's monitor.
#[derive(Debug)]
pub struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Gives an emulator that is not started yet the other end.
    pub fn attach(command: &mut Command) -> Result<Self> {
        let (ours, theirs) = UnixStream::pair().context("making a line to QEMU's monitor")?;
        let number = theirs.as_raw_fd();
        command.args(["-chardev", &format!("socket,id=monitor,fd={number},server=off")]);
        command.args(["-mon", "chardev=monitor,mode=control"]);
        // SAFETY: between fork and exec only fcntl(2) is called, which allocates nothing and takes no lock.
        unsafe {
            // The closure owns the end, which therefore stays open until the command is dropped.
            command.pre_exec(move || Ok(fcntl_setfd(&theirs, FdFlags::empty())?));
        }
        Self::new(ours)
    }

    fn new(stream: UnixStream) -> Result<Self> {
        stream.set_read_timeout(Some(LIMIT)).context("limiting the wait for QEMU's monitor")?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// The line to an emulator that has ended.
    #[cfg(test)]
    pub fn hung_up() -> Self {
        Self::new(UnixStream::pair().unwrap().0).unwrap()
    }

    /// Every processor's registers, but for the vector ones, in QEMU's words.
    pub fn registers(&mut self) -> Result<String> {
        self.execute(&json!({ "execute": "qmp_capabilities" }))?;
        let line = json!({ "command-line": "info registers -a" });
        let answer = self.execute(&json!({ "execute": "human-monitor-command", "arguments": line }))?;
        Ok(without_vectors(answer.as_str().context("QEMU's monitor answers with no text")?))
    }

    /// Has a command executed, and gives what it returns. Events and the greeting are passed over.
    fn execute(&mut self, command: &Value) -> Result<Value> {
        writeln!(self.stream.get_mut(), "{command}").context("asking QEMU's monitor")?;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line).context("reading from QEMU's monitor")? == 0 {
                bail!("QEMU's monitor has hung up");
            }
            let mut answer: Value = serde_json::from_str(&line).context("QEMU's monitor speaks no JSON")?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU's monitor refuses {command}: {error}");
            }
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
        }
    }
}

/// Leaves out, of each processor, what follows the segment, control and debug registers.
fn without_vectors(text: &str) -> String {
    let mut kept = true;
    let lines = text.lines().map(str::trim_end).filter(|line| {
        kept = line.starts_with("CPU#") || kept && !line.starts_with("FCW=");
        kept && !line.is_empty()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A monitor that greets, and answers each command with the next of these lines.
    fn answering(answers: &'static [&'static str]) -> Monitor {
        let (ours, theirs) = UnixStream::pair().unwrap();
        std::thread::spawn(move || {
            let mut theirs = BufReader::new(theirs);
            writeln!(theirs.get_mut(), r#"{{"QMP": {{"capabilities": []}}}}"#).unwrap();
            for answer in answers {
                let mut command = String::new();
                theirs.read_line(&mut command).unwrap();
                writeln!(theirs.get_mut(), "{answer}").unwrap();
            }
        });
        Monitor::new(ours).unwrap()
    }

    #[test]
    fn registers_are_given_without_vectors_and_events_are_passed_over() {
        let mut monitor = answering(&[
            r#"{"event": "STOP"}
{"return": {}}"#,
            r#"{"return": "\r\nCPU#0\r\nRAX=1 RIP=2\r\nFCW=037f\r\nXMM00=0\r\n\r\nCPU#1\r\nRAX=3\r\n"}"#,
        ]);
        assert_eq!(monitor.registers().unwrap(), "CPU#0\nRAX=1 RIP=2\nCPU#1\nRAX=3");
    }

    #[test]
    fn a_refusal_and_an_end_are_errors() {
        let error = answering(&[r#"{"error": {"desc": "no"}}"#]).registers().unwrap_err();
        assert!(error.to_string().contains("refuses"), "{error}");
        assert!(answering(&[r#"{"return": {}}"#]).registers().is_err());
    }
}
