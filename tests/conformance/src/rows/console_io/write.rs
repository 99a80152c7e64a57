//! `console_io(write, count, buffer)`, sub-operation 0 (xen/include/public/xen.h): prints so many bytes.
//!
//! Refused: where a domain may not write, everything (`EPERM`); else counts that are negative as a C `int` (`EINVAL`), and
//! buffers that cannot be read (`EFAULT`), though some of the bytes may have been printed.

use paravane_abi::console::CONSOLEIO_WRITE;
use paravane_abi::errno::Errno;
use pv_probe::memory::{self, DATA, NX, PAGE, WINDOW, map_new};

use super::{EXPLAINED, call, error, is_open};
use crate::case::{Case, Row, Verdict};
use crate::rows::refusals;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "console_io",
    "write",
    &[
        Case::good("prints", "it prints, or the console is not this domain's", prints).explained(EXPLAINED),
        Case::good("nothing", "no bytes, wherever they are", nothing).explained(EXPLAINED),
        Case::refusal("pointers", "buffers that cannot be read", pointers).explained(EXPLAINED),
        Case::refusal("end", "a long buffer whose end cannot be read", end).explained(EXPLAINED),
        Case::refusal("negative", "counts that are negative as a C `int`", negative).explained(EXPLAINED),
    ],
);

/// Where a page is whose end is the buffer's, and nothing behind it.
const PLACE: u64 = WINDOW + 0x6100_0000;

fn prints(t: &mut Trial) -> Verdict {
    let line = *b"conformance: a line by console_io\n";
    let result = call(CONSOLEIO_WRITE, line.len() as u32, line.as_ptr() as u64);
    t.result("line", result, if is_open() { 0 } else { Errno::EPERM.to_ret() });
    Ok(())
}

fn nothing(t: &mut Trial) -> Verdict {
    let want = if is_open() { 0 } else { Errno::EPERM.to_ret() };
    t.result("null", call(CONSOLEIO_WRITE, 0, 0), want);
    Ok(())
}

fn pointers(t: &mut Trial) -> Verdict {
    refusals::whatever(t, error(Errno::EFAULT), |address| call(CONSOLEIO_WRITE, 1, address))
}

fn end(t: &mut Trial) -> Verdict {
    const BLANKS: u64 = 1024;
    if memory::entry_at(PLACE, 1) == 0 {
        map_new(PLACE, DATA | NX);
    }
    for index in 0..PAGE / 8 {
        // SAFETY: the page is this case's.
        unsafe { memory::write(PLACE + index * 8, u64::from_ne_bytes(*b"        ")) };
    }
    let start = PLACE + PAGE - BLANKS;
    let result = call(CONSOLEIO_WRITE, BLANKS as u32 + 1, start);
    t.fails("one-too-many", result, error(Errno::EFAULT));
    let line_end = *b"\n";
    call(CONSOLEIO_WRITE, 1, line_end.as_ptr() as u64);
    Ok(())
}

fn negative(t: &mut Trial) -> Verdict {
    let line = *b"\n";
    for (name, count) in [("least", 1 << 31), ("most", u32::MAX)] {
        t.refused(name, error(Errno::EINVAL), || call(CONSOLEIO_WRITE, count, line.as_ptr() as u64));
    }
    Ok(())
}
