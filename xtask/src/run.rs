//! Runs other programs, and tells the user what runs and why.

use crate::stop;
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Says something about the work in hand, on standard error: standard output belongs to results.
pub fn say(text: impl std::fmt::Display) {
    eprintln!("xtask: {text}");
}

/// The command as the user could type it.
pub fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        let arg = arg.to_string_lossy();
        text.push(' ');
        if arg.is_empty() || arg.contains([' ', '\t', '"', '\'', '$', '*', ';', '&', '|']) {
            text.push('\'');
            text.push_str(&arg.replace('\'', "'\\''"));
            text.push('\'');
        } else {
            text.push_str(&arg);
        }
    }
    text
}

/// Starts a program or says that it is not there.
fn fail_to_start(command: &Command, error: std::io::Error) -> anyhow::Error {
    let program = command.get_program().to_string_lossy().into_owned();
    if error.kind() == std::io::ErrorKind::NotFound {
        return stop::missing(format!("the program {program}"), "your system's package manager");
    }
    anyhow::Error::new(error).context(format!("starting {program}"))
}

/// Runs a command with its output shown; an unsuccessful end is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = status(command)?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs a command with its output shown.
pub fn status(command: &mut Command) -> Result<ExitStatus> {
    let status = command.stdin(Stdio::null()).status().map_err(|e| fail_to_start(command, e))?;
    check_signal(status)?;
    Ok(status)
}

/// A child that Ctrl-C ended means that the user wants all of it ended.
fn check_signal(status: ExitStatus) -> Result<()> {
    use std::os::unix::process::ExitStatusExt;
    // SIGINT is 2 on every Unix.
    if status.signal() == Some(2) { Err(stop::interrupted()) } else { Ok(()) }
}

/// Runs a command and gives its standard output; its errors are shown when it fails.
pub fn output(command: &mut Command) -> Result<String> {
    let done = command.stdin(Stdio::null()).output().map_err(|e| fail_to_start(command, e))?;
    check_signal(done.status)?;
    if !done.status.success() {
        bail!("{} ended with {}: {}", shown(command), done.status, String::from_utf8_lossy(&done.stderr));
    }
    String::from_utf8(done.stdout).with_context(|| format!("{} printed no text", shown(command)))
}

/// Whether a command can be started and succeeds; its output is dropped.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs a long, quiet command: says what and why, shows that it goes on, and shows its output if it fails.
pub fn long(what: &str, command: &mut Command) -> Result<String> {
    let start = Instant::now();
    say(what);
    let bar = spinner(what);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| fail_to_start(command, e))?;
    let stdout = child.stdout.take().context("no pipe for standard output")?;
    let stderr = child.stderr.take().context("no pipe for standard error")?;
    let reader = std::thread::spawn(move || collect(stderr));
    let text = collect(stdout);
    let errors = reader.join().unwrap_or_default();
    let status = child.wait().with_context(|| format!("waiting for {}", shown(command)))?;
    bar.finish_and_clear();
    check_signal(status)?;
    if !status.success() {
        bail!("{} ended with {status}:\n{text}{errors}", shown(command));
    }
    say(format_args!("  done in {:.1} s", start.elapsed().as_secs_f32()));
    Ok(text)
}

fn collect(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    // A broken pipe ends the text early; the exit status then tells the story.
    let _ = from.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn spinner(what: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = ProgressBar::new_spinner().with_style(style).with_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_typed() {
        let mut command = Command::new("qemu");
        command.args(["-append", "console=com1 loglvl=all", "-m", "512", ""]);
        assert_eq!(shown(&command), "qemu -append 'console=com1 loglvl=all' -m 512 ''");
    }

    #[test]
    fn an_absent_program_is_missing() {
        let error = output(&mut Command::new("/nonexistent/program")).unwrap_err();
        assert_eq!(stop::status_of(&error), paravane_tests::status::Status::Missing);
    }

    #[test]
    fn a_failing_program_shows_what_it_said() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo reason >&2; exit 3"]);
        let text = format!("{:#}", output(&mut command).unwrap_err());
        assert!(text.contains("reason"), "{text}");
    }
}
