//! `memory_op(add_to_physmap, request)`, sub-operation 7 (xen/include/public/memory.h, `struct xen_add_to_physmap`):
//! puts a page into the memory of a domain whose guest frames the hypervisor translates; a PV domain's are its own.
//!
//! Refused: commands that say that more than 65535 pages were done (`EDOM`), requests that cannot be read (`EFAULT`), pages of
//! other domains, which the operation for many takes alone (`ENOSYS`), domains that there are not (`ESRCH`), PV domains,
//! others too (`EACCES`).

use paravane_abi::errno::Errno;
use paravane_abi::memory::{
    AddToPhysmap, XENMAPSPACE_GMFN, XENMAPSPACE_GMFN_FOREIGN, XENMAPSPACE_GRANT_TABLE,
    XENMAPSPACE_SHARED_INFO, XENMEM_ADD_TO_PHYSMAP,
};
use paravane_abi::mmu::DOMID_SELF;

use super::frames::continued;
use crate::case::{Case, Role, Row, Verdict};
use crate::pair;
use crate::rows::refusals::{self, NO_DOMAIN};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "memory_op",
    "add_to_physmap",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| {
            refusals::pointers(t, continued(XENMEM_ADD_TO_PHYSMAP, 0))
        }),
        Case::refusal("far", "commands that say that too many pages were done", far),
        Case::refusal("foreign", "pages of other domains, before the domain is looked for", foreign),
        Case::refusal("no-domain", "a domain that there is not", no_domain),
        Case::refusal("not-translated", "the domain itself, which is PV", not_translated),
        Case::refusal("other-domain", "another domain, which is PV", other_domain).role(Role::Pair),
    ],
);

fn about(domid: u16, space: u32) -> AddToPhysmap {
    AddToPhysmap { domid, size: 1, space, idx: 0, gpfn: 1 }
}

fn far(t: &mut Trial) -> Verdict {
    refusals::whatever(t, Errno::EDOM, continued(XENMEM_ADD_TO_PHYSMAP, 0x1_0000))?;
    // As many as the request can ask for may have been done.
    refusals::pointers(t, continued(XENMEM_ADD_TO_PHYSMAP, 0xffff))
}

fn foreign(t: &mut Trial) -> Verdict {
    let request = about(NO_DOMAIN, XENMAPSPACE_GMFN_FOREIGN);
    refusals::request(t, "space", Errno::ENOSYS, request, continued(XENMEM_ADD_TO_PHYSMAP, 0))
}

fn no_domain(t: &mut Trial) -> Verdict {
    let request = about(NO_DOMAIN, XENMAPSPACE_GMFN);
    refusals::request(t, "nobody", Errno::ESRCH, request, continued(XENMEM_ADD_TO_PHYSMAP, 0))
}

fn not_translated(t: &mut Trial) -> Verdict {
    for (name, space) in [
        ("shared-info", XENMAPSPACE_SHARED_INFO),
        ("grant-table", XENMAPSPACE_GRANT_TABLE),
        ("gmfn", XENMAPSPACE_GMFN),
        ("unknown", 0x5a5a),
    ] {
        refusals::request(
            t,
            name,
            Errno::EACCES,
            about(DOMID_SELF, space),
            continued(XENMEM_ADD_TO_PHYSMAP, 0),
        )?;
    }
    Ok(())
}

fn other_domain(t: &mut Trial) -> Verdict {
    let request = about(pair::peer(), XENMAPSPACE_GMFN);
    refusals::request(t, "other", Errno::EACCES, request, continued(XENMEM_ADD_TO_PHYSMAP, 0))?;
    pair::meet(t.side())
}
