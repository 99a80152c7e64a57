//! `VCPUOP_get_physid` (vcpu.h): the processor that a vcpu is pinned to, for the hardware domain when all its vcpus are pinned.
//!
//! Refused: any other (`EINVAL`, before anything is read).

use paravane_abi::errno::Errno;
use paravane_abi::vcpu::{VCPUOP_GET_PHYSID, VcpuGetPhysid};
use pv_probe::hypercall::vcpu_operation;

use super::call;
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "vcpu_op",
    "get_physid",
    &[
        Case::refusal("not-pinned", "a domain whose vcpus are not pinned", not_pinned),
        Case::refusal("pointers", "the struct is not even looked at", unread),
    ],
);

fn not_pinned(t: &mut Trial) -> Verdict {
    let mut request = VcpuGetPhysid::default();
    t.refused("get", Errno::EINVAL, || vcpu_operation(VCPUOP_GET_PHYSID, 0, &mut request));
    Ok(())
}

fn unread(t: &mut Trial) -> Verdict {
    for (name, address) in pointers::UNUSABLE {
        t.refused(name, Errno::EINVAL, || call(VCPUOP_GET_PHYSID, 0, address));
    }
    Ok(())
}
