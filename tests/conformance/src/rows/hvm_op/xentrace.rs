//! `hvm_op(xentrace, request)`, sub-operation 11 (xen/include/public/hvm/hvm_op.h, `struct xen_hvm_xentrace`): writes a record
//! to the hypervisor's trace; without a trace nothing happens.
//!
//! Refused: requests that cannot be read (`EFAULT`), events of more than 12 bits, more than 28 bytes besides (both `EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::hvm::{HVMOP_XENTRACE, HvmXentrace};

use super::ask;
use crate::case::{Case, Row, Verdict};
use crate::rows::refusals;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "hvm_op",
    "xentrace",
    &[
        Case::good("written", "the largest record there may be", written),
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, ask(HVMOP_XENTRACE))
        }),
        Case::refusal("event", "events of more than 12 bits", event),
        Case::refusal("length", "more bytes than there is room for", length),
    ],
);

fn written(t: &mut Trial) -> Verdict {
    let request = HvmXentrace { event: 0xfff, extra_bytes: 28, extra: [0x5a; 28] };
    t.succeeds("record", ask(HVMOP_XENTRACE)(&raw const request as u64));
    Ok(())
}

fn event(t: &mut Trial) -> Verdict {
    for (name, event) in [("bit-12", 0x1000), ("all", u16::MAX)] {
        let request = HvmXentrace { event, ..Default::default() };
        refusals::request(t, name, Errno::EINVAL, request, ask(HVMOP_XENTRACE))?;
    }
    Ok(())
}

fn length(t: &mut Trial) -> Verdict {
    for (name, extra_bytes) in [("one-more", 29), ("most", u16::MAX)] {
        let request = HvmXentrace { extra_bytes, ..Default::default() };
        refusals::request(t, name, Errno::EINVAL, request, ask(HVMOP_XENTRACE))?;
    }
    Ok(())
}
