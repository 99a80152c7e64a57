//! `ring1_op(cmd, arg)`, call 48: Paravane's own, for kernels in ring 1 (`paravane_abi::ring1`).
//!
//! Refused: an operation that there is not (`ENOSYS`). To a kernel in ring 3 the number is Xen's call for machine checks, which
//! are not the business of a domain without privileges (`EPERM`).

mod read_counters;

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_RING1_OP;
use pv_probe::hypercall::raw;

use crate::case::{Case, Rings, Row, Verdict};
use crate::rows::sched_op::needs_no_privilege;
use crate::trial::Trial;

/// The rows.
pub const ROWS: &[&Row] = &[&ROW, &read_counters::ROW];

/// Xen knows nothing of it.
const ALONE: Rings = Rings::One("the call is Paravane's own, for ring 1");

const ROW: Row = Row::call(
    "ring1_op",
    &[
        Case::refusal("unknown", "operations that there are not", unknown).rings(ALONE),
        Case::refusal("ring-3", "to a kernel in ring 3 it is the call for machine checks", ring3)
            .rings(Rings::Three("in ring 1 there is the call")),
    ],
);

fn call(command: u32, address: u64) -> i64 {
    raw(HYPERVISOR_RING1_OP, [command.into(), address, 0, 0, 0])
}

fn unknown(t: &mut Trial) -> Verdict {
    let mut argument = [0u64; 10];
    for (name, command) in [("first", 1), ("all-ones", u32::MAX)] {
        t.refused(name, Errno::ENOSYS, || call(command, argument.as_mut_ptr() as u64));
    }
    Ok(())
}

fn ring3(t: &mut Trial) -> Verdict {
    needs_no_privilege()?;
    let mut argument = [0u64; 10];
    t.refused("call", Errno::EPERM, || call(0, argument.as_mut_ptr() as u64));
    t.equal("untouched", argument[0], 0);
    Ok(())
}
