//! `memory_op(add_to_physmap_batch, request)`, sub-operation 23 (xen/include/public/memory.h, `struct xen_add_to_physmap_batch`):
//! as `add_to_physmap`, for many pages, other domains' too.
//!
//! Refused: commands that say that more than 65535 pages were done (`EDOM`), requests that cannot be read (`EFAULT`), ranges,
//! which the operation for one takes alone (`EOPNOTSUPP`), domains that there are not (`ESRCH`), PV domains (`EACCES`).

use paravane_abi::errno::Errno;
use paravane_abi::memory::{
    AddToPhysmapBatch, XENMAPSPACE_GMFN, XENMAPSPACE_GMFN_FOREIGN, XENMAPSPACE_GMFN_RANGE,
    XENMEM_ADD_TO_PHYSMAP_BATCH,
};
use paravane_abi::mmu::DOMID_SELF;

use super::frames::continued;
use crate::case::{Case, Row, Verdict};
use crate::rows::refusals::{self, NO_DOMAIN};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "add_to_physmap_batch",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, continued(XENMEM_ADD_TO_PHYSMAP_BATCH, 0))
        }),
        Case::refusal("far", "commands that say that too many pages were done", far),
        Case::refusal("range", "ranges, before the domain is looked for", range),
        Case::refusal("no-domain", "a domain that there is not", no_domain),
        Case::refusal("not-translated", "the domain itself, which is PV", not_translated),
    ],
);

fn about(domid: u16, space: u32) -> AddToPhysmapBatch {
    AddToPhysmapBatch { domid, space: space as u16, size: 1, ..Default::default() }
}

fn far(t: &mut Trial) -> Verdict {
    refusals::whatever(t, Errno::EDOM, continued(XENMEM_ADD_TO_PHYSMAP_BATCH, 0x1_0000))
}

fn range(t: &mut Trial) -> Verdict {
    let request = about(NO_DOMAIN, XENMAPSPACE_GMFN_RANGE);
    refusals::request(t, "space", Errno::EOPNOTSUPP, request, continued(XENMEM_ADD_TO_PHYSMAP_BATCH, 0))
}

fn no_domain(t: &mut Trial) -> Verdict {
    let request = about(NO_DOMAIN, XENMAPSPACE_GMFN);
    refusals::request(t, "nobody", Errno::ESRCH, request, continued(XENMEM_ADD_TO_PHYSMAP_BATCH, 0))
}

fn not_translated(t: &mut Trial) -> Verdict {
    for (name, space) in [("gmfn", XENMAPSPACE_GMFN), ("foreign", XENMAPSPACE_GMFN_FOREIGN)] {
        let request = about(DOMID_SELF, space);
        refusals::request(t, name, Errno::EACCES, request, continued(XENMEM_ADD_TO_PHYSMAP_BATCH, 0))?;
    }
    Ok(())
}
