//! `hvm_op(operation, request)`, call 34 (xen/include/public/hvm/hvm_op.h): what HVM domains ask for. A PV domain may ask for
//! the time and a little more; the operation is a whole register.
//!
//! Refused: operations that there are not (`ENOSYS`), and most others, because the domain is not HVM (`EINVAL`).

mod altp2m;
mod flush_tlbs;
mod get_mem_type;
mod get_param;
mod get_time;
mod guest_request_vm_event;
mod pagetable_dying;
mod set_evtchn_upcall_vector;
mod set_param;
mod xentrace;

use paravane_abi::errno::Errno;
use paravane_abi::hvm::HVMOP_GET_TIME;
use paravane_abi::hypercall::HYPERVISOR_HVM_OP;
use pv_probe::hypercall::raw;

use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The rows.
pub const ROWS: &[&Row] = &[
    &ROW,
    &set_param::ROW,
    &get_param::ROW,
    &flush_tlbs::ROW,
    &pagetable_dying::ROW,
    &get_time::ROW,
    &xentrace::ROW,
    &get_mem_type::ROW,
    &set_evtchn_upcall_vector::ROW,
    &guest_request_vm_event::ROW,
    &altp2m::ROW,
];

/// The call besides its sub-operations.
const ROW: Row = Row::call(
    "hvm_op",
    &[
        Case::refusal("unknown", "operations that there are not, before the request is looked at", unknown),
        Case::refusal("wide", "an operation whose upper half is not zero", wide),
    ],
);

fn ask(operation: u64) -> impl Fn(u64) -> i64 {
    move |address| raw(HYPERVISOR_HVM_OP, [operation, address, 0, 0, 0])
}

fn unknown(t: &mut Trial) -> Verdict {
    for operation in [2, 3, 4, 6, 12, 16, 26, u64::MAX] {
        t.refused(format_args!("operation-{operation:#x}"), Errno::ENOSYS, || ask(operation)(0));
    }
    Ok(())
}

fn wide(t: &mut Trial) -> Verdict {
    let time = 0u64;
    let operation = HVMOP_GET_TIME | 1 << 32;
    t.refused("get-time", Errno::ENOSYS, || ask(operation)(&raw const time as u64));
    Ok(())
}
