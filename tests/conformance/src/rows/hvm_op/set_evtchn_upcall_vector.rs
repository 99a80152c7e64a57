//! `hvm_op(set_evtchn_upcall_vector, request)`, sub-operation 23 (xen/include/public/hvm/hvm_op.h,
//! `struct xen_hvm_evtchn_upcall_vector`): the vector by which an HVM domain's vcpu hears of events.
//!
//! Refused: domains that are not HVM, before the request is looked at (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::hvm::{HVMOP_SET_EVTCHN_UPCALL_VECTOR, HvmEvtchnUpcallVector};

use super::ask;
use crate::case::{Case, Row};
use crate::rows::refusals;

/// The row.
pub const ROW: Row = Row::operation(
    "hvm_op",
    "set_evtchn_upcall_vector",
    &[
        Case::refusal("pointers", "it is refused before its request is looked at", |t| {
            refusals::whatever(t, Errno::EINVAL, ask(HVMOP_SET_EVTCHN_UPCALL_VECTOR))
        }),
        Case::refusal("not-hvm", "a request that makes sense", |t| {
            let request = HvmEvtchnUpcallVector { vcpu: 0, vector: 0x80, pad: [0; 3] };
            refusals::request(t, "vector", Errno::EINVAL, request, ask(HVMOP_SET_EVTCHN_UPCALL_VECTOR))
        }),
    ],
);
