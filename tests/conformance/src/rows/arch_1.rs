//! `arch_1(request)`, call 49 (xen/include/public/arch-x86/xen.h: architecture's own; Xen's `paging_domctl_cont`): by this
//! number Xen goes on with a `domctl` that logs dirty pages. A guest has no use for it.
//!
//! Refused: requests that cannot be read (`EFAULT`), then another version of the interface of `domctl`, and any operation but
//! that one (both `EOPNOTSUPP`), then domains that there are not (`ESRCH`), then a domain without the privilege (`EPERM`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_ARCH_1;
use paravane_abi::mmu::DOMID_SELF;
use paravane_abi::privileged::{Domctl, XEN_DOMCTL_INTERFACE_VERSION, XEN_DOMCTL_SHADOW_OP};
use pv_probe::hypercall::raw;

use crate::case::{Case, Row, Verdict};
use crate::rows::refusals::{self, NO_DOMAIN, own_domain};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "arch_1",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| refusals::pointers(t, call)),
        Case::refusal("version", "another version of the interface", version),
        Case::refusal("operation", "other operations", operation),
        Case::refusal("no-domain", "domains that there are not", no_domain),
        Case::refusal("privilege", "the domain itself, without the privilege", privilege),
    ],
);

const REQUEST: Domctl = Domctl {
    cmd: XEN_DOMCTL_SHADOW_OP,
    interface_version: XEN_DOMCTL_INTERFACE_VERSION,
    domain: NO_DOMAIN,
    pad: [0; 3],
    u: [0; 16],
};

fn call(address: u64) -> i64 {
    raw(HYPERVISOR_ARCH_1, [address, 0, 0, 0, 0])
}

fn version(t: &mut Trial) -> Verdict {
    for (name, interface_version) in [("none", 0), ("after", XEN_DOMCTL_INTERFACE_VERSION + 1)] {
        refusals::request(t, name, Errno::EOPNOTSUPP, Domctl { interface_version, ..REQUEST }, call)?;
    }
    Ok(())
}

fn operation(t: &mut Trial) -> Verdict {
    for (name, cmd) in [("none", 0), ("another", XEN_DOMCTL_SHADOW_OP + 1), ("largest", u32::MAX)] {
        refusals::request(t, name, Errno::EOPNOTSUPP, Domctl { cmd, ..REQUEST }, call)?;
    }
    Ok(())
}

fn no_domain(t: &mut Trial) -> Verdict {
    for (name, domain) in [("nobody", NO_DOMAIN), ("self", DOMID_SELF)] {
        refusals::request(t, name, Errno::ESRCH, Domctl { domain, ..REQUEST }, call)?;
    }
    Ok(())
}

fn privilege(t: &mut Trial) -> Verdict {
    refusals::request(t, "itself", Errno::EPERM, Domctl { domain: own_domain()?, ..REQUEST }, call)
}
