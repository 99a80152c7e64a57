//! Children: fork, exec, wait.

use crate::sys::{self, Result};
use crate::text::c_string;
use crate::{Errno, file, io};
use alloc::ffi::CString;
use alloc::vec::Vec;
use core::fmt;

/// Signals the programs name.
pub mod signal {
    #![allow(missing_docs)]
    pub const SIGINT: usize = 2;
    pub const SIGQUIT: usize = 3;
    pub const SIGILL: usize = 4;
    pub const SIGTRAP: usize = 5;
    pub const SIGBUS: usize = 7;
    pub const SIGFPE: usize = 8;
    pub const SIGKILL: usize = 9;
    pub const SIGSEGV: usize = 11;
    pub const SIGPIPE: usize = 13;
    pub const SIGTERM: usize = 15;
    pub const SIGTTOU: usize = 22;
}

#[cfg(target_os = "none")]
pub use crate::handlers::{Disposition, set_signal};

/// How a child ended, from `wait4`'s status word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// It called exit with this code.
    Exited(i32),
    /// This signal killed it.
    Killed(usize),
}

impl Status {
    /// Decodes Linux's status word.
    pub fn from_raw(raw: i32) -> Status {
        match raw & 0x7f {
            0 => Status::Exited((raw >> 8) & 0xff),
            signal => Status::Killed(signal as usize),
        }
    }

    /// The shell's `$?`: the exit code, or 128 and the signal.
    pub fn code(self) -> i32 {
        match self {
            Status::Exited(code) => code,
            Status::Killed(signal) => 128 + signal as i32,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Exited(code) => write!(f, "exited with {code}"),
            Status::Killed(signal) => write!(f, "killed by signal {signal}"),
        }
    }
}

/// Runs `child` in a forked process, whose exit code is what it returns; gives the child's id.
pub fn spawn(child: impl FnOnce() -> i32) -> Result<usize> {
    match sys::fork()? {
        0 => sys::exit(child()),
        pid => Ok(pid),
    }
}

/// Waits for one child.
pub fn wait(pid: usize) -> Result<Status> {
    loop {
        match sys::wait4(pid as isize, 0) {
            Ok((_, raw)) => return Ok(Status::from_raw(raw)),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// `spawn` and `wait`.
pub fn run(child: impl FnOnce() -> i32) -> Result<Status> {
    wait(spawn(child)?)
}

/// Replaces this program by `path`; returns only the error.
pub fn exec(path: &str, words: &[&str]) -> Errno {
    let owned: Vec<CString> = words.iter().map(|word| c_string(word)).collect();
    let environment = [c"PATH=/bin", c"HOME=/", c"TERM=vt100"];
    let null = core::iter::once(core::ptr::null());
    let argv: Vec<*const u8> = owned.iter().map(|word| word.as_ptr().cast()).chain(null.clone()).collect();
    let envp: Vec<*const u8> = environment.iter().map(|word| word.as_ptr().cast()).chain(null).collect();
    // SAFETY: both arrays end with a null pointer, and their strings outlive the call.
    unsafe { sys::execve(&c_string(path), argv.as_ptr(), envp.as_ptr()) }
}

/// Runs a program and collects what it writes to standard output and standard error.
pub fn output(path: &str, words: &[&str]) -> Result<(Status, Vec<u8>)> {
    let (reader, writer) = sys::pipe()?;
    let pid = spawn(|| {
        let _ = sys::close(reader);
        let _ = sys::dup2(writer, io::STDOUT);
        let _ = sys::dup2(writer, io::STDERR);
        let _ = sys::close(writer);
        let error = exec(path, words);
        crate::eprintln!("{path}: {error}");
        127
    })?;
    sys::close(writer)?;
    let content = file::read_to_end(reader);
    sys::close(reader)?;
    let status = wait(pid)?;
    Ok((status, content?))
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn status_words() {
        assert!(Status::from_raw(0x0300) == Status::Exited(3));
        assert!(Status::from_raw(11) == Status::Killed(11));
        assert_eq!(Status::from_raw(0x8b).code(), 139);
    }
}
