//! `domctl(request)`, call 36 (xen/include/public/domctl.h, `struct xen_domctl`): domains, for the control domain's tools.
//!
//! Refused: requests that cannot be read (`EFAULT`), then another version of the interface (`EACCES`), then domains that
//! there are not (`ESRCH`; `DOMID_SELF` is no domain here), then a domain without the privilege (`EPERM`), though it asks
//! about itself. The operation that makes a domain needs none; the one that tells about the next looks for it from a number
//! on, and takes no reserved one (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_DOMCTL;
use paravane_abi::mmu::DOMID_SELF;
use paravane_abi::privileged::{
    Domctl, XEN_DOMCTL_CREATEDOMAIN, XEN_DOMCTL_GETDOMAININFO, XEN_DOMCTL_INTERFACE_VERSION,
    XEN_DOMCTL_SHADOW_OP,
};
use pv_probe::hypercall::raw;

use crate::case::{Case, Role, Row, Verdict};
use crate::pair;
use crate::rows::refusals::{self, NO_DOMAIN, own_domain};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "domctl",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| refusals::pointers(t, call)),
        Case::refusal(
            "version",
            "another version of the interface, before the domain is looked for",
            version,
        ),
        Case::refusal("no-domain", "domains that there are not", no_domain),
        Case::refusal("itself", "the domain itself, without the privilege", itself),
        Case::refusal("without-domain", "operations that need no domain", without_domain),
        Case::refusal("unknown", "an operation that there is not", unknown),
        Case::refusal("other", "another domain", other).role(Role::Pair),
    ],
);

/// Pauses a domain (`XEN_DOMCTL_pausedomain`).
const PAUSE: u32 = 3;

fn call(address: u64) -> i64 {
    raw(HYPERVISOR_DOMCTL, [address, 0, 0, 0, 0])
}

fn about(cmd: u32, domain: u16) -> Domctl {
    Domctl { cmd, interface_version: XEN_DOMCTL_INTERFACE_VERSION, domain, ..Default::default() }
}

fn version(t: &mut Trial) -> Verdict {
    for (name, interface_version) in [
        ("none", 0),
        ("before", XEN_DOMCTL_INTERFACE_VERSION - 1),
        ("after", XEN_DOMCTL_INTERFACE_VERSION + 1),
    ] {
        let request = Domctl { interface_version, ..about(PAUSE, NO_DOMAIN) };
        refusals::request(t, name, Errno::EACCES, request, call)?;
    }
    Ok(())
}

fn no_domain(t: &mut Trial) -> Verdict {
    for (name, domain) in [("nobody", NO_DOMAIN), ("self", DOMID_SELF), ("invalid", 0x7ff4)] {
        refusals::request(t, name, Errno::ESRCH, about(PAUSE, domain), call)?;
    }
    Ok(())
}

fn itself(t: &mut Trial) -> Verdict {
    let own = own_domain()?;
    for (name, command) in
        [("pause", PAUSE), ("shadow", XEN_DOMCTL_SHADOW_OP), ("info", XEN_DOMCTL_GETDOMAININFO)]
    {
        refusals::request(t, name, Errno::EPERM, about(command, own), call)?;
    }
    Ok(())
}

fn without_domain(t: &mut Trial) -> Verdict {
    refusals::request(t, "create", Errno::EPERM, about(XEN_DOMCTL_CREATEDOMAIN, NO_DOMAIN), call)?;
    for (name, domain, error) in [
        ("first", 0, Errno::EPERM),
        ("none-behind", NO_DOMAIN, Errno::ESRCH),
        ("last", 0x7fef, Errno::ESRCH),
        ("reserved", DOMID_SELF, Errno::EINVAL),
    ] {
        refusals::request(t, name, error, about(XEN_DOMCTL_GETDOMAININFO, domain), call)?;
    }
    Ok(())
}

fn unknown(t: &mut Trial) -> Verdict {
    refusals::request(t, "nobody", Errno::ESRCH, about(0x5a5a, NO_DOMAIN), call)?;
    refusals::request(t, "itself", Errno::EPERM, about(0x5a5a, own_domain()?), call)
}

fn other(t: &mut Trial) -> Verdict {
    refusals::request(t, "pause", Errno::EPERM, about(PAUSE, pair::peer()), call)?;
    pair::meet(t.side())
}
