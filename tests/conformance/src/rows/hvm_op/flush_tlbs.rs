//! `hvm_op(flush_tlbs)`, sub-operation 5 (xen/include/public/hvm/hvm_op.h): flushes the TLBs of an HVM domain.
//!
//! Refused: arguments that are not null, and domains that are not HVM (both `EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::hvm::HVMOP_FLUSH_TLBS;

use super::ask;
use crate::case::{Case, Row};
use crate::rows::refusals;

/// The row.
pub const ROW: Row = Row::operation(
    "hvm_op",
    "flush_tlbs",
    &[Case::refusal("not-hvm", "with an argument and without one", |t| {
        refusals::whatever(t, Errno::EINVAL, ask(HVMOP_FLUSH_TLBS))
    })],
);
