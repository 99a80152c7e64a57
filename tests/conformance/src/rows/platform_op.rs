//! `platform_op(request)`, call 7 (xen/include/public/platform.h, `struct xen_platform_op`): the machine's firmware, time and microcode.
//!
//! Refused: requests that cannot be read (`EFAULT`), then another version of the interface (`EACCES`), then a domain without
//! the privilege (`EPERM`), whatever the operation.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_PLATFORM_OP;
use paravane_abi::privileged::{PlatformOp, XENPF_INTERFACE_VERSION};
use pv_probe::hypercall::raw;

use crate::case::{Case, Row, Verdict};
use crate::rows::refusals;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "platform_op",
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
    raw(HYPERVISOR_PLATFORM_OP, [address, 0, 0, 0, 0])
}

fn version(t: &mut Trial) -> Verdict {
    for (name, interface_version) in [
        ("none", 0),
        ("before", XENPF_INTERFACE_VERSION - 1),
        ("after", XENPF_INTERFACE_VERSION + 1),
        ("largest", u32::MAX),
    ] {
        let request = PlatformOp { cmd: 1, interface_version, ..Default::default() };
        refusals::request(t, name, Errno::EACCES, request, call)?;
    }
    Ok(())
}

fn privilege(t: &mut Trial) -> Verdict {
    for (name, cmd) in
        [("none", 0), ("first", 1), ("another", 17), ("unknown", 0x5a5a), ("largest", u32::MAX)]
    {
        let request = PlatformOp { cmd, interface_version: XENPF_INTERFACE_VERSION, ..Default::default() };
        refusals::request(t, name, Errno::EPERM, request, call)?;
    }
    Ok(())
}
