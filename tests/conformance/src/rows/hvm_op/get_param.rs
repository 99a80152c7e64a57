//! `hvm_op(get_param, request)`, sub-operation 1 (xen/include/public/hvm/hvm_op.h, `struct xen_hvm_param`; params.h): gives a
//! parameter of an HVM domain.
//!
//! Refused: requests that cannot be read (`EFAULT`), then parameters that there are not (`EINVAL`), then domains that there
//! are not (`ESRCH`), then all that are not HVM (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::hvm::{HVM_NR_PARAMS, HVMOP_GET_PARAM, HvmParam};
use paravane_abi::mmu::DOMID_SELF;

use super::ask;
use crate::case::{Case, Role, Row, Verdict};
use crate::pair;
use crate::rows::refusals::{self, NO_DOMAIN};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "hvm_op",
    "get_param",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, ask(HVMOP_GET_PARAM))
        }),
        Case::refusal("beyond", "parameters that there are not, before the domain is looked for", beyond),
        Case::refusal("no-domain", "a domain that there is not", no_domain),
        Case::refusal("itself", "the domain itself, which is PV", itself),
        Case::refusal("other", "another domain, which is PV", other).role(Role::Pair),
    ],
);

fn about(domid: u16, index: u32) -> HvmParam {
    HvmParam { domid, pad: 0, index, value: 0x5a }
}

fn beyond(t: &mut Trial) -> Verdict {
    for (name, index) in [("first", HVM_NR_PARAMS), ("last", u32::MAX)] {
        refusals::request(t, name, Errno::EINVAL, about(NO_DOMAIN, index), ask(HVMOP_GET_PARAM))?;
    }
    Ok(())
}

fn no_domain(t: &mut Trial) -> Verdict {
    for (name, index) in [("first", 0), ("last", HVM_NR_PARAMS - 1)] {
        refusals::request(t, name, Errno::ESRCH, about(NO_DOMAIN, index), ask(HVMOP_GET_PARAM))?;
    }
    Ok(())
}

fn itself(t: &mut Trial) -> Verdict {
    for (name, index) in [("callback", 0), ("store", 1), ("last", HVM_NR_PARAMS - 1)] {
        refusals::request(t, name, Errno::EINVAL, about(DOMID_SELF, index), ask(HVMOP_GET_PARAM))?;
    }
    Ok(())
}

fn other(t: &mut Trial) -> Verdict {
    refusals::request(t, "store", Errno::EINVAL, about(pair::peer(), 1), ask(HVMOP_GET_PARAM))?;
    pair::meet(t.side())
}
