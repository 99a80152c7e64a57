//! `hvm_op(get_mem_type, request)`, sub-operation 15 (xen/include/public/hvm/hvm_op.h, `struct xen_hvm_get_mem_type`): what a
//! page of an HVM domain is.
//!
//! Refused: requests that cannot be read (`EFAULT`), then domains that there are not (`ESRCH`), then others than the caller
//! (`EPERM`), then domains that are not HVM (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::hvm::{HVMOP_GET_MEM_TYPE, HvmGetMemType};
use paravane_abi::mmu::DOMID_SELF;

use super::ask;
use crate::case::{Case, Role, Row, Verdict};
use crate::pair;
use crate::rows::refusals::{self, NO_DOMAIN, own_domain};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "hvm_op",
    "get_mem_type",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, ask(HVMOP_GET_MEM_TYPE))
        }),
        Case::refusal("no-domain", "a domain that there is not", no_domain),
        Case::refusal("itself", "the domain itself, by either number", itself),
        Case::refusal("other", "another domain", other).role(Role::Pair),
    ],
);

fn about(domid: u16) -> HvmGetMemType {
    HvmGetMemType { domid, mem_type: 0x5a, pad: [0; 2], pfn: 1 }
}

fn no_domain(t: &mut Trial) -> Verdict {
    refusals::request(t, "nobody", Errno::ESRCH, about(NO_DOMAIN), ask(HVMOP_GET_MEM_TYPE))
}

fn itself(t: &mut Trial) -> Verdict {
    for (name, domid) in [("self", DOMID_SELF), ("own", own_domain()?)] {
        refusals::request(t, name, Errno::EINVAL, about(domid), ask(HVMOP_GET_MEM_TYPE))?;
    }
    Ok(())
}

fn other(t: &mut Trial) -> Verdict {
    refusals::request(t, "other", Errno::EPERM, about(pair::peer()), ask(HVMOP_GET_MEM_TYPE))?;
    pair::meet(t.side())
}
