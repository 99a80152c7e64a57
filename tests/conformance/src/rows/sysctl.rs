//! `sysctl(request)`, call 35 (xen/include/public/sysctl.h, `struct xen_sysctl`): the machine, for the control domain's tools.
//!
//! Refused: requests that cannot be read (`EFAULT`), then another version of the interface (`EACCES`), then a domain without
//! the privilege (`EPERM`), whatever the operation.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_SYSCTL;
use paravane_abi::privileged::{Sysctl, XEN_SYSCTL_INTERFACE_VERSION};
use pv_probe::hypercall::raw;

use crate::case::{Case, Row, Verdict};
use crate::rows::refusals;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "sysctl",
    &[
        Case::refusal("pointers", "requests that cannot be read", |t| refusals::pointers(t, call)),
        Case::refusal("version", "other versions of the interface", version),
        Case::refusal(
            "privilege",
            "operations known and unknown, asked for without the privilege",
            privilege,
        ),
    ],
);

fn call(address: u64) -> i64 {
    raw(HYPERVISOR_SYSCTL, [address, 0, 0, 0, 0])
}

fn version(t: &mut Trial) -> Verdict {
    for (name, interface_version) in [
        ("none", 0),
        ("before", XEN_SYSCTL_INTERFACE_VERSION - 1),
        ("after", XEN_SYSCTL_INTERFACE_VERSION + 1),
        ("largest", u32::MAX),
    ] {
        let request = Sysctl { cmd: 1, interface_version, ..Default::default() };
        refusals::request(t, name, Errno::EACCES, request, call)?;
    }
    Ok(())
}

fn privilege(t: &mut Trial) -> Verdict {
    for (name, cmd) in
        [("none", 0), ("first", 1), ("another", 17), ("unknown", 0x5a5a), ("largest", u32::MAX)]
    {
        let request = Sysctl { cmd, interface_version: XEN_SYSCTL_INTERFACE_VERSION, ..Default::default() };
        refusals::request(t, name, Errno::EPERM, request, call)?;
    }
    Ok(())
}
