//! `console_io(read, count, buffer)`, sub-operation 1 (xen/include/public/xen.h): reads what was typed.
//!
//! Refused to all domains but the one whose console it is, before the buffer is looked at: `EPERM`.

use paravane_abi::console::CONSOLEIO_READ;
use paravane_abi::errno::Errno;

use super::call;
use crate::case::{Case, Row, Verdict};
use crate::rows::refusals;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "console_io",
    "read",
    &[
        Case::refusal("pointers", "it is refused before its buffer is looked at", |t| {
            refusals::whatever(t, Errno::EPERM, |address| call(CONSOLEIO_READ, 16, address))
        }),
        Case::refusal("privilege", "a buffer that could be written", |t| {
            refusals::request(t, "buffer", Errno::EPERM, [0x5au8; 16], |address| {
                call(CONSOLEIO_READ, 16, address)
            })
        }),
        Case::refusal("nothing", "no bytes", nothing),
    ],
);

fn nothing(t: &mut Trial) -> Verdict {
    t.refused("none", Errno::EPERM, || call(CONSOLEIO_READ, 0, 0));
    Ok(())
}
