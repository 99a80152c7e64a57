//! `physdev_op(dbgp_op, request)`, sub-operation 29 (xen/include/public/physdev.h, `struct physdev_dbgp_op`).
//!
//! Tells of a reset of the USB controller whose debug port the hypervisor may use.
//!
//! Refused to a domain without devices before the request is read: `EPERM`.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PHYSDEV_OP as CALL;
use paravane_abi::physdev::{PHYSDEVOP_DBGP_OP, PHYSDEVOP_DBGP_RESET_PREPARE, PhysdevDbgpOp};

use crate::case::{Case, Row};
use crate::rows::refusals::{self, at};

/// The row.
pub const ROW: Row = Row::operation(
    "physdev_op",
    "dbgp_op",
    &[
        Case::refusal("refused-first", "it is refused before the request is looked at", |t| {
            refusals::whatever(t, Errno::EPERM, at(CALL, PHYSDEVOP_DBGP_OP))
        }),
        Case::refusal("privilege", "a request that makes sense", |t| {
            refusals::request(
                t,
                "privilege",
                Errno::EPERM,
                PhysdevDbgpOp { op: PHYSDEVOP_DBGP_RESET_PREPARE, ..Default::default() },
                at(CALL, PHYSDEVOP_DBGP_OP),
            )
        }),
    ],
);
