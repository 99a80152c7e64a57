//! `memory_op(get_vnumainfo, request)`, sub-operation 26 (xen/include/public/memory.h, `struct xen_vnuma_topology_info`):
//! the domain's virtual NUMA topology, if it was given one.
//!
//! Refused: commands that say that something was done, padding that is not zero (`EINVAL`), requests that cannot be read
//! (`EFAULT`), domains that there are not (`ESRCH`), others than the caller (`EPERM`), domains without a topology
//! (`EOPNOTSUPP`).

use paravane_abi::errno::Errno;
use paravane_abi::memory::{VnumaTopologyInfo, XENMEM_GET_VNUMAINFO};
use paravane_abi::mmu::DOMID_SELF;

use super::frames::continued;
use crate::case::{Case, Role, Row, Verdict};
use crate::pair;
use crate::rows::refusals::{self, NO_DOMAIN};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "get_vnumainfo",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, continued(XENMEM_GET_VNUMAINFO, 0))
        }),
        Case::refusal("continued", "a command that says that something was done", |t| {
            refusals::whatever(t, Errno::EINVAL, continued(XENMEM_GET_VNUMAINFO, 1))
        }),
        Case::refusal("padding", "padding that is not zero, before the domain is looked for", padding),
        Case::refusal("no-domain", "a domain that there is not", no_domain),
        Case::refusal("none", "a domain without a topology", none),
        Case::refusal("other-domain", "another domain", other_domain).role(Role::Pair),
    ],
);

fn about(domid: u16) -> VnumaTopologyInfo {
    VnumaTopologyInfo { domid, nr_vnodes: 8, nr_vcpus: 8, nr_vmemranges: 8, ..Default::default() }
}

fn padding(t: &mut Trial) -> Verdict {
    let request = VnumaTopologyInfo { pad: 1, ..about(NO_DOMAIN) };
    refusals::request(t, "one", Errno::EINVAL, request, continued(XENMEM_GET_VNUMAINFO, 0))
}

fn no_domain(t: &mut Trial) -> Verdict {
    refusals::request(t, "nobody", Errno::ESRCH, about(NO_DOMAIN), continued(XENMEM_GET_VNUMAINFO, 0))
}

fn none(t: &mut Trial) -> Verdict {
    refusals::request(t, "itself", Errno::EOPNOTSUPP, about(DOMID_SELF), continued(XENMEM_GET_VNUMAINFO, 0))
}

fn other_domain(t: &mut Trial) -> Verdict {
    refusals::request(t, "other", Errno::EPERM, about(pair::peer()), continued(XENMEM_GET_VNUMAINFO, 0))?;
    pair::meet(t.side())
}
