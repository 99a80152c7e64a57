//! `hvm_op(guest_request_vm_event)`, sub-operation 24 (xen/include/public/hvm/hvm_op.h): tells whoever monitors the domain;
//! when nobody does, nothing happens.
//!
//! Refused: arguments that are not null (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::hvm::HVMOP_GUEST_REQUEST_VM_EVENT;

use super::ask;
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "hvm_op",
    "guest_request_vm_event",
    &[
        Case::good("nobody", "nobody monitors the domain", nobody),
        Case::refusal("argument", "an argument, wherever it lies", argument),
    ],
);

fn nobody(t: &mut Trial) -> Verdict {
    let result = t.unchanged("told", || ask(HVMOP_GUEST_REQUEST_VM_EVENT)(0));
    t.succeeds("told", result);
    Ok(())
}

fn argument(t: &mut Trial) -> Verdict {
    let place = 0u64;
    for (name, address) in [("good", &raw const place as u64)].into_iter().chain(pointers::UNUSABLE) {
        t.refused(name, Errno::EINVAL, || ask(HVMOP_GUEST_REQUEST_VM_EVENT)(address));
    }
    Ok(())
}
