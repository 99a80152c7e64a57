//! `update_va_mapping_otherdomain(va, entry, flags, domain)`, call 22 (xen/include/public/xen.h).
//!
//! As `update_va_mapping`, where the entry names a frame of another domain: for domains that have power over others.
//! `DOMID_SELF` makes it the same call.
//!
//! Refused: domains that there are not, and the caller's own number (`ESRCH`); those that the caller has no power over, and
//! the owners of devices' and of the hypervisor's frames (`EPERM`), before anything else is looked at.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN;
use paravane_abi::mmu::{DOMID_IO, DOMID_SELF, DOMID_XEN, UVMF_INVLPG};
use pv_probe::hypercall::raw;
use pv_probe::memory::{DATA, NX, READ, root};

use super::tables::{BEYOND, entry, filled, frame, own_number, pinnable, place};
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "update_va_mapping_otherdomain",
    &[
        Case::good("self", "DOMID_SELF maps the caller's own frame", itself),
        Case::refusal("nobody", "domains that there are not, and the caller's own number", nobody),
        Case::refusal("devices", "DOMID_IO, whatever the frame", devices),
        Case::refusal("hypervisor", "DOMID_XEN, whatever the frame", hypervisor),
        Case::refusal("entries", "entries and addresses that the other call refuses", entries),
    ],
);

fn update(va: u64, entry: u64, domain: u16) -> i64 {
    raw(HYPERVISOR_UPDATE_VA_MAPPING_OTHERDOMAIN, [va, entry, UVMF_INVLPG, domain.into(), 0])
}

fn itself(t: &mut Trial) -> Verdict {
    let va = place(2);
    let page = filled(&[(0, 0x1234)]);
    t.succeeds("map", update(va, entry(page, DATA | NX), DOMID_SELF));
    t.reads("read", va, 0x1234);
    t.refused("held", Errno::EINVAL, || pinnable(page));
    t.succeeds("unmap", update(va, 0, DOMID_SELF));
    t.does_not_read("unmapped", va);
    Ok(())
}

fn nobody(t: &mut Trial) -> Verdict {
    let own = own_number(t)?;
    let page = frame();
    for (name, domain) in [("unknown", 7777), ("reserved", 0x7ff5), ("own", own)] {
        t.refused(name, Errno::ESRCH, || update(place(2), entry(page, DATA), domain));
        t.refused(format_args!("{name}.nothing"), Errno::ESRCH, || update(place(2), 0, domain));
    }
    Ok(())
}

fn owners(t: &mut Trial, domain: u16) -> Verdict {
    for (name, value) in [
        ("own-frame", entry(frame(), DATA)),
        ("own-frame-read-only", entry(frame(), READ)),
        ("beyond", entry(BEYOND, DATA)),
        ("not-present", 0),
    ] {
        t.refused(name, Errno::EPERM, || update(place(2), value, domain));
    }
    t.refused("no-table", Errno::EPERM, || update(pointers::NOTHING, 0, domain));
    Ok(())
}

fn devices(t: &mut Trial) -> Verdict {
    owners(t, DOMID_IO)
}

fn hypervisor(t: &mut Trial) -> Verdict {
    owners(t, DOMID_XEN)
}

fn entries(t: &mut Trial) -> Verdict {
    let page = frame();
    for (name, va, value, error) in [
        ("nothing", pointers::NOTHING, entry(page, DATA), Errno::EINVAL),
        ("beyond", place(2), entry(BEYOND, DATA), Errno::EPERM),
        ("root-writable", place(2), entry(root(), DATA), Errno::EBUSY),
        ("cache-disabled", place(2), entry(page, DATA | 1 << 4), Errno::EINVAL),
    ] {
        t.refused(name, error, || update(va, value, DOMID_SELF));
    }
    Ok(())
}
