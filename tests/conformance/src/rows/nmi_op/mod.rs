//! `nmi_op(cmd, arg)`, call 28 (xen/include/public/nmi.h): the handler of non-maskable events, by the form that is older than
//! `callback_op`.
//!
//! Refused: an operation that there is not (`ENOSYS`).

pub mod register_callback;
mod unregister_callback;

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_NMI_OP;
use pv_probe::hypercall::raw;

use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The rows.
pub const ROWS: &[&Row] = &[&ROW, &register_callback::ROW, &unregister_callback::ROW];

const ROW: Row = Row::call("nmi_op", &[Case::refusal("unknown", "operations that there are not", unknown)]);

fn call(command: u32, address: u64) -> i64 {
    raw(HYPERVISOR_NMI_OP, [command.into(), address, 0, 0, 0])
}

fn unknown(t: &mut Trial) -> Verdict {
    let mut argument = [0u64; 2];
    for (name, command) in [("first", 2), ("all-ones", u32::MAX)] {
        t.refused(name, Errno::ENOSYS, || call(command, argument.as_mut_ptr() as u64));
    }
    Ok(())
}
