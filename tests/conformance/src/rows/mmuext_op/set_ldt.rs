//! `MMUEXT_SET_LDT`, operation 13 of `mmuext_op` (xen/include/public/xen.h).
//!
//! Says where this vcpu's LDT is, by a linear address at a page's beginning, and how many descriptors it has, at most 8192.
//! A page of it is taken when the processor first needs a descriptor there: it must be mapped, hold descriptors that a guest
//! may have, and be mapped for writing nowhere, and so it stays until the vcpu gets another LDT or another base pointer.
//!
//! Refused: too many descriptors, an address within a page or where no guest has memory (`EINVAL`).

use paravane_abi::errno::Errno;
use paravane_abi::mmu::{MMUEXT_NEW_BASEPTR, MMUEXT_SET_LDT};
use paravane_abi::segment::MAX_LDT_ENTRIES;
use pv_probe::hypercall::mmuext;
use pv_probe::memory::{NX, READ, root};

use crate::case::{Case, Rings, Row, Verdict};
use crate::rows::pointers;
use crate::rows::set_gdt::limit;
use crate::rows::tables::{Mapped, copied_root, entry, filled, frame, place, writable};
use crate::trial::Trial;

const RING3: Rings = Rings::Three("a kernel in ring 1 has no LDT");

/// The row.
pub const ROW: Row = Row::operation(
    "mmuext_op",
    "set_ldt",
    &[
        Case::good("shown", "selectors find its descriptors", shown).rings(RING3),
        Case::good("none", "without descriptors the address does not matter", none),
        Case::good("most", "as many descriptors as there may be", most).rings(RING3),
        Case::good("late", "its pages are looked at when they are needed", late).rings(RING3),
        Case::good("held", "a page that was needed cannot be written until the LDT is gone", held)
            .rings(RING3),
        Case::good("another", "another LDT lets go of the pages", another).rings(RING3),
        Case::good("base-pointer", "another base pointer lets go of the pages", base_pointer).rings(RING3),
        Case::refusal("too-many", "one descriptor more than there may be", too_many),
        Case::refusal("unaligned", "addresses within a page", unaligned),
        Case::refusal("addresses", "addresses where no guest has memory", addresses),
        Case::refusal("ring-1", "a kernel in ring 1 may only say that it has none", ring_1)
            .rings(Rings::One("a kernel in ring 3 has an LDT")),
    ],
);

fn set(address: u64, entries: u64) -> i64 {
    mmuext(MMUEXT_SET_LDT, address, entries)
}

/// Data of privilege level 3, accessed, 16-bit, with this limit in bytes.
const fn data(limit: u64) -> u64 {
    limit | 0x0000_f300_0000_0000
}

/// The selector of a descriptor of the LDT, RPL 3.
const fn selector(index: u64) -> u64 {
    index << 3 | 7
}

/// A page of descriptors, mapped for reading, and its frame.
fn page(index: u64, words: &[(usize, u64)]) -> (Mapped, u64) {
    let frame = filled(words);
    (Mapped::with(index, entry(frame, READ | NX)), frame)
}

fn shown(t: &mut Trial) -> Verdict {
    let (first, _) = page(0, &[(0, data(0x11)), (511, data(0x22))]);
    let (_second, _) = page(1, &[(0, data(0x33))]);
    t.same("before", limit(selector(0)), None);
    t.succeeds("set", set(first.address(), 513));
    for (name, index, want) in [("first", 0, 0x11), ("last", 511, 0x22), ("second-page", 512, 0x33)] {
        t.same(name, limit(selector(index)), Some(want));
    }
    t.same("beyond", limit(selector(513)), None);
    t.succeeds("away", set(0, 0));
    t.same("after", limit(selector(0)), None);
    Ok(())
}

fn none(t: &mut Trial) -> Verdict {
    for (name, address) in pointers::UNUSABLE.into_iter().chain([("null", 0), ("unaligned", 0x1001)]) {
        t.succeeds(name, set(address, 0));
    }
    Ok(())
}

fn most(t: &mut Trial) -> Verdict {
    let frame = filled(&[(511, data(0x1234))]);
    let pages: [Mapped; 16] =
        core::array::from_fn(|index| Mapped::with(index as u64, entry(frame, READ | NX)));
    t.succeeds("set", set(pages[0].address(), MAX_LDT_ENTRIES));
    t.same("last", limit(selector(MAX_LDT_ENTRIES - 1)), Some(0x1234));
    t.succeeds("away", set(0, 0));
    t.succeeds("free", writable(frame));
    Ok(())
}

fn late(t: &mut Trial) -> Verdict {
    let va = place(0);
    t.succeeds("nothing-mapped", set(va, 512));
    let (_page, frame) = page(0, &[(5, data(0x1234))]);
    t.succeeds("writable-before", writable(frame));
    t.same("found", limit(selector(5)), Some(0x1234));
    t.refused("writable-after", Errno::EBUSY, || writable(frame));
    t.succeeds("away", set(0, 0));
    Ok(())
}

fn held(t: &mut Trial) -> Verdict {
    let (page, frame) = page(0, &[(5, data(0x1234))]);
    t.succeeds("set", set(page.address(), 512));
    t.same("found", limit(selector(5)), Some(0x1234));
    t.refused("writable", Errno::EBUSY, || writable(frame));
    // The same again changes nothing.
    t.succeeds("again", set(page.address(), 512));
    t.refused("still", Errno::EBUSY, || writable(frame));
    t.succeeds("away", set(0, 0));
    t.succeeds("free", writable(frame));
    Ok(())
}

fn another(t: &mut Trial) -> Verdict {
    let (first, frame) = page(0, &[(5, data(0x1234))]);
    let (second, _) = page(1, &[(5, data(0x4321))]);
    t.succeeds("first", set(first.address(), 512));
    t.same("first-found", limit(selector(5)), Some(0x1234));
    t.succeeds("second", set(second.address(), 512));
    t.succeeds("first-free", writable(frame));
    t.same("second-found", limit(selector(5)), Some(0x4321));
    t.succeeds("away", set(0, 0));
    Ok(())
}

fn base_pointer(t: &mut Trial) -> Verdict {
    let (page, frame) = page(0, &[(5, data(0x1234))]);
    let other = copied_root();
    t.succeeds("set", set(page.address(), 512));
    t.same("found", limit(selector(5)), Some(0x1234));
    t.succeeds("other-root", mmuext(MMUEXT_NEW_BASEPTR, other, 0));
    t.succeeds("free", writable(frame));
    t.same("found-again", limit(selector(5)), Some(0x1234));
    t.succeeds("back", mmuext(MMUEXT_NEW_BASEPTR, root(), 0));
    t.succeeds("free-again", writable(frame));
    t.succeeds("away", set(0, 0));
    Ok(())
}

fn too_many(t: &mut Trial) -> Verdict {
    let va = place(0);
    for (name, entries) in [("one-more", MAX_LDT_ENTRIES + 1), ("all-bits", 0xffff_ffff)] {
        t.refused(name, Errno::EINVAL, || set(va, entries));
    }
    Ok(())
}

fn unaligned(t: &mut Trial) -> Verdict {
    let page = Mapped::with(0, entry(frame(), READ | NX));
    for offset in [1, 8, 0x800, 0xfff] {
        t.refused(format_args!("{offset:x}"), Errno::EINVAL, || set(page.address() + offset, 1));
    }
    Ok(())
}

fn addresses(t: &mut Trial) -> Verdict {
    for (name, address) in [("hypervisor", pointers::HYPERVISOR), ("not-canonical", pointers::NOT_CANONICAL)]
    {
        t.refused(name, Errno::EINVAL, || set(address, 1));
    }
    Ok(())
}

fn ring_1(t: &mut Trial) -> Verdict {
    let (page, frame) = page(0, &[(5, data(0x1234))]);
    t.refused("one", Errno::EOPNOTSUPP, || set(page.address(), 1));
    t.succeeds("free", writable(frame));
    Ok(())
}
