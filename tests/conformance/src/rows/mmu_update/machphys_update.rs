//! `MMU_MACHPHYS_UPDATE`, command 1 of `mmu_update` (xen/include/public/xen.h).
//!
//! Writes the machine-to-physical table's entry of the frame at the request's address: any number, as nothing but the guest
//! goes by it. The table is what every domain sees, read-only, at the start of the hypervisor's range.
//!
//! Refused: frames that are not this domain's (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::mmu::{MMU_MACHPHYS_UPDATE, MmuUpdate};
use pv_probe::memory::{m2p, mfn, take};

use super::own;
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::rows::tables::{BEYOND, LOW, Mapped, hypervisor_frame, store};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "mmu_update",
    "machphys_update",
    &[
        Case::good("written", "the table shows the number at once", written),
        Case::good("any-number", "any number is taken, one that is no frame's too", any_number),
        Case::good("offset", "the address may be any of the frame's", offset),
        Case::good("no-consequence", "a frame with a wrong number is as good as another", no_consequence),
        Case::refusal("not-own", "frames that are not this domain's", not_own),
        Case::refusal("read-only", "the table itself cannot be written", read_only),
    ],
);

fn set(address: u64, number: u64) -> i64 {
    own(&[MmuUpdate::new(address, MMU_MACHPHYS_UPDATE, number)]).0
}

fn written(t: &mut Trial) -> Verdict {
    let pfn = take();
    let frame = mfn(pfn);
    t.holds("at-first", m2p(frame) == pfn);
    t.succeeds("set", set(frame << 12, 0x12_3456));
    t.equal("read", m2p(frame), 0x12_3456);
    t.succeeds("back", set(frame << 12, pfn));
    t.holds("at-last", m2p(frame) == pfn);
    Ok(())
}

fn any_number(t: &mut Trial) -> Verdict {
    let pfn = take();
    for (name, number) in [("zero", 0), ("invalid", u64::MAX), ("large", 0x5555_5555_5555_5555)] {
        t.succeeds(name, set(mfn(pfn) << 12, number));
        t.equal(format_args!("{name}.read"), m2p(mfn(pfn)), number);
    }
    set(mfn(pfn) << 12, pfn);
    Ok(())
}

fn offset(t: &mut Trial) -> Verdict {
    let pfn = take();
    t.succeeds("set", set(mfn(pfn) << 12 | 0xff8, 0x77));
    t.equal("read", m2p(mfn(pfn)), 0x77);
    set(mfn(pfn) << 12, pfn);
    Ok(())
}

fn no_consequence(t: &mut Trial) -> Verdict {
    let pfn = take();
    t.succeeds("set", set(mfn(pfn) << 12, 0));
    let page = Mapped::new(0, mfn(pfn));
    t.reads("mapped", page.address(), 0);
    drop(page);
    set(mfn(pfn) << 12, pfn);
    Ok(())
}

fn not_own(t: &mut Trial) -> Verdict {
    for (name, frame) in [
        ("zero", 0),
        ("low", LOW),
        ("beyond", BEYOND),
        ("none", pointers::NO_FRAME),
        ("hypervisor", hypervisor_frame()),
    ] {
        t.refused(name, Errno::EINVAL, || set(frame << 12, 1));
    }
    Ok(())
}

fn read_only(t: &mut Trial) -> Verdict {
    let address = paravane_abi::mmu::MACH2PHYS_VIRT_START + mfn(take()) * 8;
    t.raises("write", &store(address), 14, Some(3));
    Ok(())
}
