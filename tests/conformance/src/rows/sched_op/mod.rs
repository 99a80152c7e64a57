//! `sched_op(cmd, arg)`, call 29 (xen/include/public/sched.h): giving the processor away, and ending a domain.
//!
//! Refused: an operation that there is not (`ENOSYS`), a struct that cannot be read (`EFAULT`).

mod block;
mod pin_override;
mod poll;
mod remote_shutdown;
mod shutdown;
mod shutdown_code;
mod watchdog;
mod yield_cpu;

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_SCHED_OP;
use paravane_abi::sched::SCHEDOP_YIELD;
use paravane_abi::start_info::StartFlags;
use pv_probe::boot::start;
use pv_probe::hypercall::raw;

use crate::case::{Case, Row, Stop, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The rows.
pub const ROWS: &[&Row] = &[
    &ROW,
    &yield_cpu::ROW,
    &block::ROW,
    &shutdown::ROW,
    &poll::ROW,
    &remote_shutdown::ROW,
    &shutdown_code::ROW,
    &watchdog::ROW,
    &pin_override::ROW,
];

const ROW: Row = Row::call(
    "sched_op",
    &[
        Case::good("upper-half", "the upper half of the operation's number means nothing", upper_half),
        Case::refusal("unknown", "operations that there are not", unknown),
    ],
);

fn call(command: u32, address: u64) -> i64 {
    raw(HYPERVISOR_SCHED_OP, [command.into(), address, 0, 0, 0])
}

/// The structs that no operation can read.
fn unreadable(t: &mut Trial, command: u32) {
    for (name, address) in pointers::UNUSABLE {
        t.refused(name, Errno::EFAULT, || call(command, address));
    }
}

/// A case that Xen's first domain would not be refused.
///
/// # Errors
/// The case is skipped there.
pub fn needs_no_privilege() -> Verdict {
    if start().info.start_flags().contains(StartFlags::PRIVILEGED) {
        return Err(Stop::Skip("a privileged domain may"));
    }
    Ok(())
}

fn upper_half(t: &mut Trial) -> Verdict {
    let command = 1 << 32 | u64::from(SCHEDOP_YIELD);
    t.succeeds("yield", raw(HYPERVISOR_SCHED_OP, [command, 0, 0, 0, 0]));
    Ok(())
}

fn unknown(t: &mut Trial) -> Verdict {
    let mut argument = [0u64; 4];
    for (name, command) in [("first", 8), ("hundred", 100), ("all-ones", u32::MAX)] {
        t.refused(name, Errno::ENOSYS, || call(command, argument.as_mut_ptr() as u64));
    }
    Ok(())
}
