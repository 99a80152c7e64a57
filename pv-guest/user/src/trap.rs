//! What the kernel says about the last process a fault killed: `/proc/trap`.

use crate::process::{self, Status};
use crate::text::field_number;
use crate::{Errno, file, sys};

/// Exception vectors (SDM volume 3, table 6-1).
pub mod vector {
    #![allow(missing_docs)]
    pub const DIVIDE: u64 = 0;
    pub const BREAKPOINT: u64 = 3;
    pub const OVERFLOW: u64 = 4;
    pub const INVALID_OPCODE: u64 = 6;
    pub const GENERAL_PROTECTION: u64 = 13;
    pub const PAGE_FAULT: u64 = 14;
}

/// A fatal fault of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Exception vector.
    pub vector: u64,
    /// Error code the CPU pushed, or 0.
    pub error: u64,
    /// Address of a page fault.
    pub address: u64,
}

/// The kernel's record of the fault that killed `pid`.
pub fn of(pid: usize) -> Option<Fault> {
    parse(&file::read_text("/proc/trap").ok()?, pid)
}

fn parse(line: &str, pid: usize) -> Option<Fault> {
    if field_number(line, "pid")? != pid as u64 {
        return None;
    }
    Some(Fault {
        vector: field_number(line, "vector")?,
        error: field_number(line, "error")?,
        address: field_number(line, "address")?,
    })
}

/// The signal Linux sends for a vector.
pub fn signal_of(vector: u64) -> usize {
    use process::signal::{SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP};
    match vector {
        0 | 16 | 19 => SIGFPE,
        1 | 3 => SIGTRAP,
        6 => SIGILL,
        11 | 12 | 17 => SIGBUS,
        _ => SIGSEGV,
    }
}

/// Runs `body` in a child and says how it ended, with the fault when one killed it.
pub fn provoke(body: impl FnOnce() -> i32) -> Result<(Status, Option<Fault>), Errno> {
    let pid = process::spawn(|| {
        // The child's death is expected: its message on the console would only be noise.
        let _ = sys::close(crate::io::STDERR);
        body()
    })?;
    let status = process::wait(pid)?;
    Ok((status, of(pid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_of_the_right_process() {
        let line = "pid 7 vector 14 error 0x5 rip 0x401000 address 0xffffffff80000000\n";
        let fault = Fault { vector: 14, error: 5, address: 0xffff_ffff_8000_0000 };
        assert_eq!(parse(line, 7), Some(fault));
        assert_eq!(parse(line, 8), None);
        assert_eq!(parse("none\n", 7), None);
    }

    #[test]
    fn linux_signals() {
        assert_eq!(signal_of(vector::GENERAL_PROTECTION), 11);
        assert_eq!(signal_of(vector::INVALID_OPCODE), 4);
        assert_eq!(signal_of(vector::DIVIDE), 8);
    }
}
