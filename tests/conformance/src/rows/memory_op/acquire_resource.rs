//! `memory_op(acquire_resource, request)`, sub-operation 28 (xen/include/public/memory.h, `struct xen_mem_acquire_resource`):
//! the frames of another domain's resource, such as its grant table, for who serves the domain.
//!
//! Refused: requests that cannot be read (`EFAULT`), padding that is not zero and frames past 2^32 (`EINVAL`), domains that there
//! are not (`ESRCH`; `DOMID_SELF` is none here), the domain itself, and others without the privilege (both `EPERM`).

use paravane_abi::errno::Errno;
use paravane_abi::memory::{MemAcquireResource, XENMEM_ACQUIRE_RESOURCE, XENMEM_RESOURCE_GRANT_TABLE};
use paravane_abi::mmu::DOMID_SELF;

use super::frames::continued;
use crate::case::{Case, Role, Row, Verdict};
use crate::pair;
use crate::rows::refusals::{self, NO_DOMAIN, own_domain};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "acquire_resource",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, continued(XENMEM_ACQUIRE_RESOURCE, 0))
        }),
        Case::refusal("padding", "padding that is not zero, before the domain is looked for", padding),
        Case::refusal("far", "frames past 2^32", far),
        Case::refusal("no-domain", "domains that there are not", no_domain),
        Case::refusal("itself", "the domain itself", itself),
        Case::refusal("other-domain", "another domain, without the privilege", other_domain).role(Role::Pair),
    ],
);

fn about(domid: u16) -> MemAcquireResource {
    MemAcquireResource { domid, kind: XENMEM_RESOURCE_GRANT_TABLE, ..Default::default() }
}

fn padding(t: &mut Trial) -> Verdict {
    let request = MemAcquireResource { pad: 1, ..about(NO_DOMAIN) };
    refusals::request(t, "one", Errno::EINVAL, request, continued(XENMEM_ACQUIRE_RESOURCE, 0))
}

fn far(t: &mut Trial) -> Verdict {
    for (name, frame, nr_frames) in
        [("frame", 1 << 32, 0), ("end", u64::from(u32::MAX), 1), ("overflow", u64::MAX, 1)]
    {
        let request = MemAcquireResource { frame, nr_frames, ..about(NO_DOMAIN) };
        refusals::request(t, name, Errno::EINVAL, request, continued(XENMEM_ACQUIRE_RESOURCE, 0))?;
    }
    Ok(())
}

fn no_domain(t: &mut Trial) -> Verdict {
    for (name, domid) in [("nobody", NO_DOMAIN), ("self", DOMID_SELF)] {
        refusals::request(t, name, Errno::ESRCH, about(domid), continued(XENMEM_ACQUIRE_RESOURCE, 0))?;
    }
    Ok(())
}

fn itself(t: &mut Trial) -> Verdict {
    refusals::request(t, "own", Errno::EPERM, about(own_domain()?), continued(XENMEM_ACQUIRE_RESOURCE, 0))
}

fn other_domain(t: &mut Trial) -> Verdict {
    refusals::request(t, "other", Errno::EPERM, about(pair::peer()), continued(XENMEM_ACQUIRE_RESOURCE, 0))?;
    pair::meet(t.side())
}
