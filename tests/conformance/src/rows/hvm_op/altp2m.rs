//! `hvm_op(altp2m, request)`, sub-operation 25 (xen/include/public/hvm/hvm_op.h, `struct xen_hvm_altp2m_op`): alternative views
//! of an HVM domain's memory, on processors that can.
//!
//! Refused: where the processor cannot, everything (`EOPNOTSUPP`); else requests that cannot be read (`EFAULT`), and for a PV
//! domain those that can (`EINVAL`, `EOPNOTSUPP`).

use paravane_abi::errno::Errno;
use paravane_abi::hvm::HVMOP_ALTP2M;

use super::ask;
use crate::case::{Case, Row, Verdict};
use crate::rows::refusals;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation("hvm_op", "altp2m", &[Case::refusal("pv", "a domain without views", pv)]);

fn pv(t: &mut Trial) -> Verdict {
    let none = ask(HVMOP_ALTP2M)(0) == Errno::EOPNOTSUPP.to_ret();
    refusals::whatever(t, if none { Errno::EOPNOTSUPP } else { Errno::EFAULT }, ask(HVMOP_ALTP2M))?;
    // Version 0 of the interface is not among those that a processor with views makes Xen take.
    let error = if none { Errno::EOPNOTSUPP } else { Errno::EINVAL };
    refusals::request(t, "version", error, [0u64; 64], ask(HVMOP_ALTP2M))
}
