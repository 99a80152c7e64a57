//! `update_va_mapping(va, entry, flags)`, call 14 (xen/include/public/xen.h).
//!
//! Writes the L1 entry that maps an address in the address space that is running, checked as `mmu_update` checks one, and
//! flushes what the flags say: nothing, this page (`UVMF_INVLPG`) or everything (`UVMF_TLB_FLUSH`), on this vcpu, on the
//! vcpus of a bitmap whose address is in the flags, or on all (`UVMF_ALL`).
//!
//! Refused: addresses that no L1 of this domain's maps, and what `mmu_update` refuses, by its codes. A bitmap that cannot be
//! read is `EFAULT`, the entry being written by then.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::HYPERVISOR_UPDATE_VA_MAPPING;
use paravane_abi::mmu::{UVMF_ALL, UVMF_INVLPG, UVMF_LOCAL, UVMF_TLB_FLUSH};
use paravane_abi::pte;
use pv_probe::boot::start;
use pv_probe::hypercall::raw;
use pv_probe::memory::{DATA, G, NX, P, PS, READ, RW, entry_at, root};
use pv_probe::ring;

use super::tables::{
    BEYOND, EmulatedWrites, LOW, Mapped, entry, filled, frame, hypervisor_frame, pinnable, place, places,
    store,
};
use crate::case::{Case, Rings, Row, Verdict};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "update_va_mapping",
    &[
        Case::good("maps", "a page is mapped, and taken away", maps),
        Case::good("offset", "any address within the page does", offset),
        Case::good("replaced", "the frame before is let go of", replaced),
        Case::good("read-only", "a page can be made read-only and writable again", read_only),
        Case::good("flag-bits", "what the hypervisor makes of the flags", flag_bits)
            .rings(Rings::Three("in ring 1 US stays as it is, and there are no global pages")),
        Case::good(
            "own-table",
            "an L1 can map itself for reading, and be written by its own mapping",
            own_table,
        ),
        Case::good("flush-unknown", "a flush type that there is not flushes nothing", flush_unknown),
        Case::refusal("addresses", "addresses that no L1 maps", addresses),
        Case::refusal("frames", "frames that an entry cannot name", frames),
        Case::refusal("table-writable", "a page table for writing", table_writable),
        Case::refusal("large", "a large page", large),
        Case::refusal("bitmap", "bitmaps that cannot be read: the entry is written", bitmap),
        Case::refusal("refused-bitmap", "what is wrong with the entry is told first", refused_bitmap),
    ],
);

fn update(va: u64, entry: u64, flags: u64) -> i64 {
    raw(HYPERVISOR_UPDATE_VA_MAPPING, [va, entry, flags, 0, 0])
}

fn maps(t: &mut Trial) -> Verdict {
    let va = place(1);
    let page = filled(&[(2, 0x1234)]);
    t.succeeds("map", update(va, entry(page, DATA | NX), UVMF_INVLPG));
    t.reads("read", va + 16, 0x1234);
    t.succeeds("unmap", update(va, 0, UVMF_INVLPG));
    t.does_not_read("unmapped", va + 16);
    Ok(())
}

fn offset(t: &mut Trial) -> Verdict {
    let va = place(1);
    let page = filled(&[(2, 0x1234)]);
    t.succeeds("map", update(va + 0xfff, entry(page, DATA | NX), UVMF_INVLPG));
    t.reads("read", va + 16, 0x1234);
    t.succeeds("unmap", update(va + 1, 0, UVMF_INVLPG));
    t.equal("entry", entry_at(va, 1), 0);
    Ok(())
}

fn replaced(t: &mut Trial) -> Verdict {
    let va = place(1);
    let (first, second) = (frame(), frame());
    t.succeeds("first", update(va, entry(first, DATA | NX), UVMF_INVLPG));
    t.succeeds("second", update(va, entry(second, DATA | NX), UVMF_INVLPG));
    t.succeeds("first-free", pinnable(first));
    t.refused("second-held", Errno::EINVAL, || pinnable(second));
    t.succeeds("unmap", update(va, 0, UVMF_INVLPG));
    t.succeeds("second-free", pinnable(second));
    Ok(())
}

fn read_only(t: &mut Trial) -> Verdict {
    let va = place(1);
    let page = frame();
    t.succeeds("map", update(va, entry(page, DATA | NX), UVMF_INVLPG));
    t.succeeds("protect", update(va, entry(page, READ | NX), UVMF_INVLPG));
    t.raises("write", &store(va), 14, Some(3));
    // Nothing maps it for writing now.
    t.succeeds("table", pinnable(page));
    t.succeeds("unprotect", update(va, entry(page, DATA | NX), UVMF_INVLPG));
    t.raises("write-again", &store(va), pv_probe::guard::RETURNED, None);
    t.succeeds("unmap", update(va, 0, UVMF_INVLPG));
    Ok(())
}

fn flag_bits(t: &mut Trial) -> Verdict {
    // Without US an entry is the kernel's, which is marked; others are global (xen/include/public/arch-x86).
    let page = frame();
    const AMONG: u64 = !pte::ADDRESS_MASK;
    for (name, flags, want) in [
        ("program", DATA, DATA | G),
        ("kernel", P | RW, P | RW | 1 << 2 | 1 << 52),
        ("global", DATA | G, DATA | G),
        ("available", DATA | 0xe00 | 0x7fe << 52, DATA | G | 0xe00 | 0x7fe << 52),
    ] {
        let mapped = Mapped::with(1, entry(page, flags));
        t.flags(name, mapped.entry(), AMONG, want);
    }
    assert!(!ring::is_1());
    Ok(())
}

fn own_table(t: &mut Trial) -> Verdict {
    let va = place(1);
    t.succeeds("map", update(va, entry(places(), READ | NX), UVMF_INVLPG));
    let index = pte::index(va, 1) as u64;
    t.holds("itself", pte::mfn(entry_at(va, 1)) == places());
    // An emulated write of the very entry that maps the table.
    let _emulated = EmulatedWrites::on();
    // SAFETY: the case's page.
    unsafe { pv_probe::memory::write(va + index * 8, 0) };
    t.equal("gone", entry_at(va, 1), 0);
    update(va, 0, UVMF_INVLPG);
    t.does_not_read("unmapped", va);
    Ok(())
}

fn flush_unknown(t: &mut Trial) -> Verdict {
    let va = place(1);
    let page = frame();
    for (name, flags) in
        [("both", UVMF_INVLPG | UVMF_TLB_FLUSH), ("none-all", UVMF_ALL), ("none-bitmap", 0x7000)]
    {
        t.succeeds(name, update(va, entry(page, DATA | NX), flags));
        t.succeeds(format_args!("{name}.away"), update(va, 0, UVMF_INVLPG | UVMF_LOCAL));
    }
    Ok(())
}

fn addresses(t: &mut Trial) -> Verdict {
    let page = frame();
    for (name, va) in [
        ("nothing", pointers::NOTHING),
        ("hypervisor", pointers::HYPERVISOR),
        ("m2p", paravane_abi::mmu::MACH2PHYS_VIRT_START),
        ("not-canonical", pointers::NOT_CANONICAL),
        ("no-l1", place(0) + (1 << 21)),
        ("no-l2", place(0) + (1 << 30)),
    ] {
        t.refused(name, Errno::EINVAL, || update(va, entry(page, DATA), UVMF_INVLPG));
        t.refused(format_args!("{name}.away"), Errno::EINVAL, || update(va, 0, UVMF_INVLPG));
    }
    t.succeeds("free", pinnable(page));
    Ok(())
}

fn frames(t: &mut Trial) -> Verdict {
    let va = place(1);
    for (name, frame, error) in [
        ("low", LOW, Errno::EPERM),
        ("beyond", BEYOND, Errno::EPERM),
        ("none", pointers::NO_FRAME, Errno::EINVAL),
        ("hypervisor", hypervisor_frame(), Errno::EBUSY),
    ] {
        t.refused(name, error, || update(va, entry(frame, READ), UVMF_INVLPG));
    }
    // What is not present names no frame.
    t.succeeds("not-present", update(va, 0x1000, UVMF_INVLPG));
    t.succeeds("away", update(va, 0, UVMF_INVLPG));
    Ok(())
}

fn table_writable(t: &mut Trial) -> Verdict {
    let va = place(1);
    for (name, table) in [("root", root()), ("own", places())] {
        t.refused(name, Errno::EBUSY, || update(va, entry(table, DATA), UVMF_INVLPG));
    }
    let boot = start().info.pt_base;
    let table = entry_at(boot, 1);
    t.refused("boot", Errno::EBUSY, || update(boot, table | RW, UVMF_INVLPG));
    Ok(())
}

fn large(t: &mut Trial) -> Verdict {
    // In an L1 the bit is PAT, which a domain without devices has no use for.
    let page = frame();
    t.refused("call", Errno::EINVAL, || update(place(1), entry(page, DATA | PS), UVMF_INVLPG));
    Ok(())
}

fn bitmap(t: &mut Trial) -> Verdict {
    let va = place(1);
    for (name, flush) in [("tlb", UVMF_TLB_FLUSH), ("page", UVMF_INVLPG)] {
        let page = frame();
        // Its lowest three bits are flags.
        for (kind, address) in [("nothing", pointers::NOTHING), ("hypervisor", pointers::HYPERVISOR)] {
            t.fails(
                format_args!("{name}.{kind}"),
                update(va, entry(page, DATA | NX), flush | address),
                Errno::EFAULT,
            );
            t.holds(format_args!("{name}.{kind}.written"), pte::mfn(entry_at(va, 1)) == page);
            t.succeeds(format_args!("{name}.{kind}.away"), update(va, 0, UVMF_INVLPG));
        }
    }
    Ok(())
}

fn refused_bitmap(t: &mut Trial) -> Verdict {
    let va = place(1);
    t.refused("call", Errno::EBUSY, || update(va, entry(root(), DATA), UVMF_TLB_FLUSH | pointers::NOTHING));
    Ok(())
}
