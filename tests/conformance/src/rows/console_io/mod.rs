//! `console_io(command, count, buffer)`, call 18 (xen/include/public/xen.h): the hypervisor's own console.
//!
//! Xen built for release keeps it to the first domain: all others are refused whatever they ask (`EPERM`). Where a domain may
//! write, commands that there are not are `ENOSYS`.

mod read;
mod write;

use paravane_abi::console::CONSOLEIO_WRITE;
use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_CONSOLE_IO as CALL;
use pv_probe::hypercall::raw;

use crate::case::{Case, Explained, Row, Verdict, because};
use crate::trial::Trial;

/// The rows.
pub const ROWS: &[&Row] = &[&ROW, &write::ROW, &read::ROW];

/// The call besides its sub-operations.
const ROW: Row = Row::call(
    "console_io",
    &[Case::refusal("unknown", "commands that there are not", unknown).explained(EXPLAINED)],
);

const EXPLAINED: &[Explained] = &[Explained { value: "*", reason: because::CONSOLE }];

fn call(command: u32, count: u32, buffer: u64) -> i64 {
    raw(CALL, [command.into(), count.into(), buffer, 0, 0])
}

/// Whether this domain may write.
fn is_open() -> bool {
    call(CONSOLEIO_WRITE, 0, 0) == 0
}

/// What is wrong with a request, or first of all that the console is not this domain's.
fn error(error: Errno) -> Errno {
    if is_open() { error } else { Errno::EPERM }
}

fn unknown(t: &mut Trial) -> Verdict {
    for command in [2, 3, 0x5a5a, u32::MAX] {
        t.refused(format_args!("command-{command:#x}"), error(Errno::ENOSYS), || call(command, 0, 0));
    }
    Ok(())
}
