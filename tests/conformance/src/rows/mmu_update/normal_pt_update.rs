//! `MMU_NORMAL_PT_UPDATE`, command 0 of `mmu_update` (xen/include/public/xen.h).
//!
//! Checks an entry and writes it at a machine address: into a page table of any level, whether it is in use by this vcpu, by
//! another or just pinned, or as a plain word into a page that is no table and that the guest could write itself. What a
//! table names is held, and what it named before is let go of. Flushing is the guest's affair, but for upper levels, of
//! which the hypervisor leaves no stale copy.
//!
//! Refused: addresses in frames that are not this domain's or hold descriptors, frames an entry cannot name, flags that no
//! guest may set, the hypervisor's slots of an L4 (`EINVAL`); frames of no memory (`EPERM`); frames that are in use for
//! something else, such as a writable mapping of a page table, or another's (`EBUSY`).

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_SET_GDT;
use paravane_abi::pte;
use pv_probe::boot::start;
use pv_probe::hypercall::{mmuext, raw};
use pv_probe::memory::{DATA, G, NX, P, PS, READ, RW, US, mfn, peek, pfn_at, poke, root, take};

use super::{normal, own};
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::rows::tables::{
    BEYOND, LOW, Mapped, entry, filled, frame, hierarchy, hypervisor_frame, pinnable, place, places, slot,
    store, writable,
};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "mmu_update",
    "normal_pt_update",
    &[
        Case::good("maps", "an L1 entry maps a frame, at once where nothing was mapped", maps),
        Case::good("replaces", "another frame replaces it", replaces),
        Case::good("unmaps", "an entry of 0 lets go of the frame: it can become a table", unmaps),
        Case::good("read-only", "an entry without RW cannot be written through", read_only),
        Case::good("notes", "an entry that is not present is the guest's to use", notes),
        Case::good("available", "bits that the processor ignores are the guest's", available),
        Case::good("shared", "a frame may be mapped many times", shared),
        Case::good("untyped", "a page that is no table is written as it is", untyped),
        Case::good("upper-set", "an entry of the L4 in use is in effect at once", upper_set),
        Case::good(
            "upper-cleared",
            "one that is cleared is gone at once, and its tables are free",
            upper_cleared,
        ),
        Case::good("pinned", "a pinned table that is used nowhere is checked as well", pinned),
        Case::refusal("tables", "tables that are not this domain's", tables),
        Case::refusal("descriptors", "a page of descriptors", descriptors),
        Case::refusal("no-memory", "frames that are no memory", no_memory),
        Case::refusal("others", "frames that are the hypervisor's", others),
        Case::refusal("table-writable", "a writable mapping of a page table", table_writable),
        Case::refusal("flags", "flags that no guest may set", flags),
        Case::refusal("reserved-slots", "the hypervisor's slots of the L4 in use", reserved_slots),
        Case::refusal("upper-flags", "large pages and global entries above L1", upper_flags),
        Case::refusal("upper-frames", "above L1, frames that are no tables of the level below", upper_frames),
        Case::refusal("writable-page", "a page mapped for writing as a table", writable_page),
    ],
);

fn update(table: u64, index: u64, value: u64) -> i64 {
    own(&[normal(table, index, value)]).0
}

/// The place's index in its L1.
const INDEX: u64 = 7;

fn maps(t: &mut Trial) -> Verdict {
    let frame = frame();
    poke(frame, 1, 0x1234);
    t.does_not_read("before", place(INDEX) + 8);
    t.succeeds("map", update(places(), INDEX, entry(frame, DATA | NX)));
    t.reads("after", place(INDEX) + 8, 0x1234);
    t.succeeds("unmap", update(places(), INDEX, 0));
    Ok(())
}

fn replaces(t: &mut Trial) -> Verdict {
    let (first, second) = (frame(), frame());
    poke(second, 0, 2);
    t.succeeds("first", update(places(), INDEX, entry(first, DATA | NX)));
    t.succeeds("second", update(places(), INDEX, entry(second, DATA | NX)));
    t.reads("read", place(INDEX), 2);
    t.succeeds("first-free", pinnable(first));
    t.refused("second-held", Errno::EINVAL, || pinnable(second));
    t.succeeds("unmap", update(places(), INDEX, 0));
    Ok(())
}

fn unmaps(t: &mut Trial) -> Verdict {
    let frame = frame();
    t.succeeds("map", update(places(), INDEX, entry(frame, DATA | NX)));
    t.refused("held", Errno::EINVAL, || pinnable(frame));
    t.succeeds("unmap", update(places(), INDEX, 0));
    t.succeeds("free", pinnable(frame));
    Ok(())
}

fn read_only(t: &mut Trial) -> Verdict {
    let page = Mapped::with(INDEX, entry(frame(), READ | NX));
    t.reads("read", page.address(), 0);
    t.raises("write", &store(page.address()), 14, Some(3));
    Ok(())
}

fn notes(t: &mut Trial) -> Verdict {
    // Within the first GiB, where a processor that leaks by entries not present (XSA-273) finds nothing of others.
    for (name, note) in [("word", 0x1234_5678), ("flags", 0xffe)] {
        t.succeeds(name, update(places(), INDEX, note));
        t.equal(format_args!("{name}.read"), slot(places(), INDEX as usize), note);
        t.does_not_read(name, place(INDEX));
    }
    t.succeeds("away", update(places(), INDEX, 0));
    Ok(())
}

fn available(t: &mut Trial) -> Verdict {
    let frame = frame();
    for (name, bits) in [("low", 0xe00), ("high", 0x7fe << 52)] {
        t.succeeds(name, update(places(), INDEX, entry(frame, DATA | NX | bits)));
        t.flags(name, slot(places(), INDEX as usize), bits | NX, bits | NX);
        t.reads(name, place(INDEX), 0);
    }
    t.succeeds("away", update(places(), INDEX, 0));
    Ok(())
}

fn shared(t: &mut Trial) -> Verdict {
    let frame = frame();
    for index in 0..5 {
        t.succeeds(format_args!("map.{index}"), update(places(), INDEX + index, entry(frame, DATA | NX)));
    }
    // SAFETY: the case's page.
    unsafe { pv_probe::memory::write(place(INDEX), 0x70) };
    t.reads("last", place(INDEX + 4), 0x70);
    for index in 0..4 {
        update(places(), INDEX + index, 0);
    }
    t.refused("held", Errno::EINVAL, || pinnable(frame));
    t.succeeds("away", update(places(), INDEX + 4, 0));
    t.succeeds("free", pinnable(frame));
    Ok(())
}

fn untyped(t: &mut Trial) -> Verdict {
    let frame = frame();
    t.succeeds("first", update(frame, 0, u64::MAX));
    t.succeeds("last", update(frame, 511, 0x8000_0000_0000_0001));
    t.equal("first.read", peek(frame, 0), u64::MAX);
    t.equal("last.read", peek(frame, 511), 0x8000_0000_0000_0001);
    Ok(())
}

/// An address in an L4 slot where nothing is, and the slot.
const FAR: u64 = 0xffff_8a00_0000_1000;
const FAR_SLOT: u64 = 276;

fn upper_set(t: &mut Trial) -> Verdict {
    let frame = frame();
    poke(frame, 0, 0x4444);
    let l3 = hierarchy(FAR, entry(frame, DATA));
    t.does_not_read("before", FAR);
    t.succeeds("set", update(root(), FAR_SLOT, entry(l3, DATA)));
    t.reads("after", FAR, 0x4444);
    t.succeeds("away", update(root(), FAR_SLOT, 0));
    Ok(())
}

fn upper_cleared(t: &mut Trial) -> Verdict {
    let frame = frame();
    let l3 = hierarchy(FAR, entry(frame, DATA));
    t.succeeds("set", update(root(), FAR_SLOT, entry(l3, DATA)));
    t.reads("while", FAR, 0);
    t.refused("table-held", Errno::EBUSY, || writable(l3));
    t.refused("page-held", Errno::EINVAL, || pinnable(frame));
    t.succeeds("away", update(root(), FAR_SLOT, 0));
    t.does_not_read("after", FAR);
    t.succeeds("table-free", writable(l3));
    t.succeeds("page-free", pinnable(frame));
    Ok(())
}

fn pinned(t: &mut Trial) -> Verdict {
    let (l1, frame) = (frame(), frame());
    t.need("pin", mmuext(paravane_abi::mmu::MMUEXT_PIN_L1_TABLE, l1, 0))?;
    t.succeeds("set", update(l1, 0, entry(frame, DATA)));
    t.refused("held", Errno::EINVAL, || pinnable(frame));
    t.refused("table-writable", Errno::EBUSY, || update(l1, 1, entry(l1, DATA)));
    t.need("unpin", mmuext(paravane_abi::mmu::MMUEXT_UNPIN_TABLE, l1, 0))?;
    t.succeeds("free", pinnable(frame));
    Ok(())
}

fn tables(t: &mut Trial) -> Verdict {
    for (name, frame) in [
        ("zero", 0),
        ("low", LOW),
        ("beyond", BEYOND),
        ("none", pointers::NO_FRAME),
        ("hypervisor", hypervisor_frame()),
    ] {
        t.refused(name, Errno::EINVAL, || update(frame, 0, 0));
    }
    Ok(())
}

fn descriptors(t: &mut Trial) -> Verdict {
    let frame = frame();
    let set = |entries| raw(HYPERVISOR_SET_GDT, [&raw const frame as u64, entries, 0, 0, 0]);
    t.need("set_gdt", set(1))?;
    t.refused("call", Errno::EINVAL, || update(frame, 300, 0x1234));
    t.equal("word", peek(frame, 300), 0);
    set(0);
    Ok(())
}

fn no_memory(t: &mut Trial) -> Verdict {
    for (name, frame, error) in [
        ("low", LOW, Errno::EPERM),
        ("beyond", BEYOND, Errno::EPERM),
        ("none", pointers::NO_FRAME, Errno::EINVAL),
    ] {
        t.refused(name, error, || update(places(), INDEX, entry(frame, DATA)));
        t.refused(format_args!("{name}.read-only"), error, || update(places(), INDEX, entry(frame, READ)));
    }
    Ok(())
}

fn others(t: &mut Trial) -> Verdict {
    let frame = hypervisor_frame();
    for (name, flags) in [("writable", DATA), ("read-only", READ), ("kernel", P)] {
        t.refused(name, Errno::EBUSY, || update(places(), INDEX, entry(frame, flags)));
    }
    Ok(())
}

fn table_writable(t: &mut Trial) -> Verdict {
    let l1 = places();
    for (name, table) in [("own", l1), ("root", root()), ("boot", mfn(pfn_at(start().info.pt_base) + 1))] {
        t.refused(name, Errno::EBUSY, || update(l1, INDEX, entry(table, DATA)));
        t.succeeds(format_args!("{name}.read-only"), update(l1, INDEX, entry(table, READ)));
        t.refused(format_args!("{name}.made-writable"), Errno::EBUSY, || {
            update(l1, INDEX, entry(table, DATA))
        });
        t.succeeds(format_args!("{name}.away"), update(l1, INDEX, 0));
    }
    Ok(())
}

fn flags(t: &mut Trial) -> Verdict {
    let frame = frame();
    for (name, bit) in [("write-through", 3), ("cache-disabled", 4), ("attribute-table", 7)] {
        t.refused(name, Errno::EINVAL, || update(places(), INDEX, entry(frame, DATA | 1 << bit)));
    }
    // Flags are looked at before the frame.
    t.refused("before-frame", Errno::EINVAL, || update(places(), INDEX, entry(BEYOND, DATA | 1 << 4)));
    Ok(())
}

fn reserved_slots(t: &mut Trial) -> Verdict {
    let l3 = hierarchy(FAR, entry(frame(), DATA));
    for slot in [256, 257, 258, 264, 271] {
        t.refused(format_args!("{slot}.set"), Errno::EINVAL, || update(root(), slot, entry(l3, DATA)));
        t.refused(format_args!("{slot}.clear"), Errno::EINVAL, || update(root(), slot, 0));
    }
    Ok(())
}

fn upper_flags(t: &mut Trial) -> Verdict {
    let l3 = hierarchy(FAR, entry(frame(), DATA));
    for (name, bit) in [("large", PS), ("global", G), ("write-through", 8), ("cache-disabled", 16)] {
        t.refused(name, Errno::EINVAL, || update(root(), FAR_SLOT, entry(l3, DATA | bit)));
    }
    let l2 = peek(l3, pte::index(FAR, 3)) >> 12 & 0xff_ffff_ffff;
    let real = pte::mfn(slot(root(), pte::index(place(0), 4)));
    for (name, bit) in [("l3-large", PS), ("l3-global", G)] {
        t.refused(name, Errno::EINVAL, || update(real, 300, entry(l2, DATA | bit)));
    }
    Ok(())
}

fn upper_frames(t: &mut Trial) -> Verdict {
    let l1 = filled(&[(0, entry(BEYOND, DATA))]);
    let l2 = filled(&[(0, entry(l1, DATA))]);
    for (name, frame) in [
        ("low", LOW),
        ("beyond", BEYOND),
        ("none", pointers::NO_FRAME),
        ("hypervisor", hypervisor_frame()),
        ("root", root()),
        ("l1-in-use", places()),
    ] {
        t.refused(name, Errno::EINVAL, || update(root(), FAR_SLOT, entry(frame, P | RW | US)));
    }
    // What is wrong further down is told as such.
    let l3 = filled(&[(0, entry(l2, DATA))]);
    t.refused("below", Errno::EPERM, || update(root(), FAR_SLOT, entry(l3, DATA)));
    for table in [l1, l2, l3] {
        t.holds("free", writable(table) == 0);
    }
    Ok(())
}

fn writable_page(t: &mut Trial) -> Verdict {
    let l3 = mfn(take());
    let page = Mapped::new(0, l3);
    t.refused("mapped", Errno::EINVAL, || update(root(), FAR_SLOT, entry(l3, DATA)));
    drop(page);
    t.succeeds("unmapped", update(root(), FAR_SLOT, entry(l3, DATA)));
    t.succeeds("away", update(root(), FAR_SLOT, 0));
    Ok(())
}
