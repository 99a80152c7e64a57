//! Errors that carry the exit status they end the command with.

use paravane_tests::status::Status;
use std::fmt;

/// An error with a status of its own; any other error ends with [`Status::CheckFailed`].
#[derive(Debug)]
pub struct Stop {
    status: Status,
    text: String,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Stop {}

/// Something needed is absent; `bring` is the command that brings it.
pub fn missing(what: impl fmt::Display, bring: impl fmt::Display) -> anyhow::Error {
    Stop { status: Status::Missing, text: format!("missing: {what}\n  bring it with: {bring}") }.into()
}

/// The command line asks for something that cannot be.
pub fn usage(text: impl fmt::Display) -> anyhow::Error {
    Stop { status: Status::Usage, text: text.to_string() }.into()
}

/// A signal told this command to stop.
pub fn interrupted() -> anyhow::Error {
    Stop { status: Status::Interrupted, text: "interrupted".into() }.into()
}

/// The status an error ends the command with.
pub fn status_of(error: &anyhow::Error) -> Status {
    error.downcast_ref::<Stop>().map_or(Status::CheckFailed, |stop| stop.status)
}

/// Prints an error and gives its status.
pub fn report(error: &anyhow::Error) -> Status {
    eprintln!("xtask: {error:#}");
    status_of(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_status_survives_context() {
        let error = Err::<(), _>(missing("qemu", "apt-get install qemu-system-x86")).context("booting");
        assert_eq!(status_of(&error.unwrap_err()), Status::Missing);
        assert_eq!(status_of(&usage("no")), Status::Usage);
        assert_eq!(status_of(&interrupted()), Status::Interrupted);
        assert_eq!(status_of(&anyhow::anyhow!("broken")), Status::CheckFailed);
    }
}
