//! `dm_op(domain, count, buffers)`, call 41 (xen/include/public/hvm/dm_op.h, `struct xen_dm_op_buf`): what the device model of
//! an HVM domain asks for, in up to two buffers.
//!
//! Refused: no buffers (`ENODATA`), more than two (`E2BIG`), lists of buffers that cannot be read (`EFAULT`), domains that
//! there are not (`ESRCH`; `DOMID_SELF` is none here), the domain itself (`EPERM`), and any that is not HVM (`EINVAL`), in
//! this order.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_DM_OP;
use paravane_abi::mmu::DOMID_SELF;
use paravane_abi::privileged::DmOpBuf;
use pv_probe::hypercall::raw;

use crate::case::{Case, Role, Row, Verdict};
use crate::pair;
use crate::rows::refusals::{self, NO_DOMAIN, own_domain};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "dm_op",
    &[
        Case::refusal("no-buffers", "no buffers, before the list and the domain are looked at", no_buffers),
        Case::refusal("too-many", "more than two buffers", too_many),
        Case::refusal("pointers", "lists of buffers that cannot be read", |t| {
            refusals::pointers(t, |address| call(NO_DOMAIN, 1, address))?;
            refusals::pointers(t, |address| call(NO_DOMAIN, 2, address))
        }),
        Case::refusal("no-domain", "domains that there are not", no_domain),
        Case::refusal("itself", "the domain itself", itself),
        Case::refusal("other", "another domain, which is PV", other).role(Role::Pair),
    ],
);

fn call(domain: u16, count: u64, buffers: u64) -> i64 {
    raw(HYPERVISOR_DM_OP, [domain.into(), count, buffers, 0, 0])
}

fn no_buffers(t: &mut Trial) -> Verdict {
    refusals::whatever(t, Errno::ENODATA, |address| call(NO_DOMAIN, 0, address))
}

fn too_many(t: &mut Trial) -> Verdict {
    for count in [3, 4, 0x8000_0000, 0xffff_ffff] {
        t.refused(format_args!("count-{count:#x}"), Errno::E2BIG, || call(NO_DOMAIN, count, 0));
    }
    Ok(())
}

fn no_domain(t: &mut Trial) -> Verdict {
    for (name, domain) in [("nobody", NO_DOMAIN), ("self", DOMID_SELF)] {
        refusals::request(t, name, Errno::ESRCH, [DmOpBuf::default(); 2], |address| {
            call(domain, 2, address)
        })?;
    }
    Ok(())
}

fn itself(t: &mut Trial) -> Verdict {
    let own = own_domain()?;
    refusals::request(t, "itself", Errno::EPERM, [DmOpBuf::default(); 2], |address| call(own, 1, address))
}

fn other(t: &mut Trial) -> Verdict {
    let buffers = [DmOpBuf::default(); 2];
    refusals::request(t, "other", Errno::EINVAL, buffers, |address| call(pair::peer(), 1, address))?;
    pair::meet(t.side())
}
