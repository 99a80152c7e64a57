//! `callback_op(cmd, arg)`, call 30 (xen/include/public/callback.h): where events, system calls and the like enter this vcpu's kernel.
//!
//! Refused: an operation that there is not (`ENOSYS`).

mod register;
mod unregister;

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_CALLBACK_OP;
use pv_probe::hypercall::raw;

use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The rows.
pub const ROWS: &[&Row] = &[&ROW, &register::ROW, &unregister::ROW];

const ROW: Row =
    Row::call("callback_op", &[Case::refusal("unknown", "operations that there are not", unknown)]);

fn call(command: u32, address: u64) -> i64 {
    raw(HYPERVISOR_CALLBACK_OP, [command.into(), address, 0, 0, 0])
}

/// The structs that no operation can read.
fn unreadable(t: &mut Trial, command: u32) {
    for (name, address) in pointers::UNUSABLE {
        t.refused(name, Errno::EFAULT, || call(command, address));
    }
}

fn unknown(t: &mut Trial) -> Verdict {
    let mut argument = [0u64; 2];
    for (name, command) in [("first", 2), ("all-ones", u32::MAX)] {
        t.refused(name, Errno::ENOSYS, || call(command, argument.as_mut_ptr() as u64));
    }
    Ok(())
}
