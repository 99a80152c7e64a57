//! What tables hold, and let go of when they are taken out of use.

use core::cell::UnsafeCell;

use paravane_abi::errno::Errno;
use paravane_abi::mmu::{
    DOMID_SELF, MMU_NORMAL_PT_UPDATE, MMUEXT_NEW_BASEPTR, MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L4_TABLE,
    MMUEXT_UNPIN_TABLE, MmuUpdate,
};
use paravane_abi::{hypercall::HYPERVISOR_MMU_UPDATE, pte};
use pv_probe::hypercall::{mmuext, raw, set_entry};
use pv_probe::memory::{DATA, NX, READ, peek, poke, root};

use crate::case::{Case, Row, Verdict};
use crate::rows::tables::{
    BEYOND, Mapped, copied_root, entry, filled, frame, hierarchy, pinnable, place, places, writable,
};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "page-table-rules-references",
    &[
        Case::good("chain", "an entry taken out lets go of all tables and pages below it", chain),
        Case::good("shared-table", "a table that two entries name stays until both are gone", shared_table),
        Case::good("shared-seen", "what such a table maps is seen by either", shared_seen),
        Case::good("pinned-stays", "a pinned table stays one when it is taken out", pinned_stays),
        Case::good(
            "page-stays",
            "a page that is mapped elsewhere too stays a page that is written",
            page_stays,
        ),
        Case::good("replaced", "an entry that is replaced lets go of the table before", replaced),
        Case::good("same-again", "the same table again, with other bits, is no change", same_again),
        Case::good("full-table", "a table of 512 entries is held and let go of, entry by entry", full_table),
        Case::good("wide", "512 tables are made and undone by one request", wide),
        Case::good(
            "base-pointer",
            "a root that is used and not pinned ends when another is loaded",
            base_pointer,
        ),
        Case::good("flags-only", "bits that are the guest's change without the frame's use", flags_only),
        Case::refusal("half-made", "a table that is refused half-way has let go of everything", half_made),
    ],
);

/// An address in an L4 slot where nothing is, and the slot.
const FAR: u64 = 0xffff_8e00_0000_5000;

fn hook(l3: u64) -> i64 {
    set_entry(root(), pte::index(FAR, 4), entry(l3, DATA))
}

fn unhook() -> i64 {
    set_entry(root(), pte::index(FAR, 4), 0)
}

/// The tables below an L3 of [`hierarchy`].
fn below(l3: u64) -> (u64, u64) {
    let l2 = pte::mfn(peek(l3, pte::index(FAR, 3)));
    (l2, pte::mfn(peek(l2, pte::index(FAR, 2))))
}

fn chain(t: &mut Trial) -> Verdict {
    let page = frame();
    let l3 = hierarchy(FAR, entry(page, DATA));
    let (l2, l1) = below(l3);
    t.succeeds("hook", hook(l3));
    for (name, table) in [("l3", l3), ("l2", l2), ("l1", l1)] {
        t.refused(format_args!("{name}.held"), Errno::EBUSY, || writable(table));
    }
    t.refused("page.held", Errno::EINVAL, || pinnable(page));
    t.succeeds("unhook", unhook());
    for (name, table) in [("l3", l3), ("l2", l2), ("l1", l1)] {
        t.succeeds(format_args!("{name}.free"), writable(table));
    }
    t.succeeds("page.free", pinnable(page));
    Ok(())
}

fn shared_table(t: &mut Trial) -> Verdict {
    let l3 = hierarchy(FAR, entry(frame(), DATA));
    let (l2, l1) = below(l3);
    t.succeeds("hook", hook(l3));
    t.succeeds("second", set_entry(l2, 100, entry(l1, DATA)));
    t.succeeds("first-away", set_entry(l2, pte::index(FAR, 2), 0));
    t.refused("held", Errno::EBUSY, || writable(l1));
    t.succeeds("second-away", set_entry(l2, 100, 0));
    t.succeeds("free", writable(l1));
    t.succeeds("unhook", unhook());
    Ok(())
}

fn shared_seen(t: &mut Trial) -> Verdict {
    let l3 = hierarchy(FAR, entry(filled(&[(0, 0x11)]), DATA));
    let (l2, l1) = below(l3);
    let other = FAR ^ (FAR & 0x3fe0_0000) | 100 << 21;
    t.succeeds("hook", hook(l3));
    t.succeeds("second", set_entry(l2, 100, entry(l1, DATA)));
    t.reads("first-view", FAR, 0x11);
    t.reads("second-view", other, 0x11);
    t.succeeds("change", set_entry(l1, pte::index(FAR, 1) + 1, entry(filled(&[(0, 0x22)]), DATA)));
    t.reads("first-view.new", FAR + 0x1000, 0x22);
    t.reads("second-view.new", other + 0x1000, 0x22);
    t.succeeds("unhook", unhook());
    Ok(())
}

fn pinned_stays(t: &mut Trial) -> Verdict {
    let page = frame();
    let l3 = hierarchy(FAR, entry(page, DATA));
    let (_, l1) = below(l3);
    t.succeeds("pin", mmuext(MMUEXT_PIN_L1_TABLE, l1, 0));
    t.succeeds("hook", hook(l3));
    t.succeeds("unhook", unhook());
    t.refused("table-held", Errno::EBUSY, || writable(l1));
    t.refused("page-held", Errno::EINVAL, || pinnable(page));
    t.succeeds("unpin", mmuext(MMUEXT_UNPIN_TABLE, l1, 0));
    t.succeeds("table-free", writable(l1));
    t.succeeds("page-free", pinnable(page));
    Ok(())
}

fn page_stays(t: &mut Trial) -> Verdict {
    let page = frame();
    let l3 = hierarchy(FAR, entry(page, DATA));
    let elsewhere = Mapped::new(40, page);
    t.succeeds("hook", hook(l3));
    t.succeeds("unhook", unhook());
    t.refused("held", Errno::EINVAL, || pinnable(page));
    drop(elsewhere);
    t.succeeds("free", pinnable(page));
    Ok(())
}

fn replaced(t: &mut Trial) -> Verdict {
    let pages = [frame(), frame()];
    let tables = pages.map(|page| hierarchy(FAR, entry(page, DATA)));
    t.succeeds("first", hook(tables[0]));
    t.succeeds("second", hook(tables[1]));
    t.succeeds("first-free", writable(tables[0]));
    t.succeeds("first-page-free", pinnable(pages[0]));
    t.refused("second-held", Errno::EBUSY, || writable(tables[1]));
    t.succeeds("unhook", unhook());
    t.succeeds("second-free", writable(tables[1]));
    Ok(())
}

fn same_again(t: &mut Trial) -> Verdict {
    let l3 = hierarchy(FAR, entry(frame(), DATA));
    t.succeeds("first", hook(l3));
    for (name, flags) in [("available", DATA | 0x600), ("read-only", READ), ("no-execute", DATA | NX)] {
        t.succeeds(name, set_entry(root(), pte::index(FAR, 4), entry(l3, flags)));
    }
    t.succeeds("unhook", unhook());
    t.succeeds("free", writable(l3));
    Ok(())
}

fn full_table(t: &mut Trial) -> Verdict {
    let page = frame();
    let l1 = frame();
    for index in 0..512 {
        poke(l1, index, entry(page, DATA));
    }
    let l3 = hierarchy(FAR, 0);
    let (l2, _) = below(l3);
    t.succeeds("hook", hook(l3));
    t.succeeds("table", set_entry(l2, 200, entry(l1, DATA)));
    for index in 0..511 {
        let result = set_entry(l1, index, 0);
        if result != 0 {
            t.succeeds(format_args!("clear.{index}"), result);
        }
    }
    t.refused("held-by-one", Errno::EINVAL, || pinnable(page));
    t.succeeds("last", set_entry(l1, 511, 0));
    t.succeeds("free", pinnable(page));
    t.succeeds("unhook", unhook());
    t.succeeds("table-free", writable(l1));
    Ok(())
}

fn wide(t: &mut Trial) -> Verdict {
    // An L2 that names 512 times the same full L1 would be held once: tables of their own, each naming one page.
    let page = frame();
    let l1s: [u64; 32] = core::array::from_fn(|_| {
        let l1 = frame();
        for index in 0..512 {
            poke(l1, index, entry(page, READ));
        }
        l1
    });
    let l2 = frame();
    for index in 0..512 {
        poke(l2, index, entry(l1s[index % 32], DATA));
    }
    let l3 = filled(&[(0, entry(l2, DATA)), (511, entry(l2, DATA))]);
    t.succeeds("hook", hook(l3));
    t.refused("held", Errno::EBUSY, || writable(l1s[31]));
    t.succeeds("unhook", unhook());
    t.holds("free", l1s.iter().all(|l1| writable(*l1) == 0));
    t.succeeds("page-free", pinnable(page));
    Ok(())
}

fn base_pointer(t: &mut Trial) -> Verdict {
    let page = frame();
    let other = copied_root();
    let l3 = hierarchy(FAR, entry(page, DATA));
    poke(other, pte::index(FAR, 4), entry(l3, DATA));
    t.succeeds("load", mmuext(MMUEXT_NEW_BASEPTR, other, 0));
    t.refused("page-held", Errno::EINVAL, || pinnable(page));
    t.succeeds("back", mmuext(MMUEXT_NEW_BASEPTR, root(), 0));
    for (name, table) in [("root", other), ("l3", l3)] {
        t.succeeds(format_args!("{name}.free"), writable(table));
    }
    t.succeeds("page-free", pinnable(page));
    Ok(())
}

struct Requests(UnsafeCell<[MmuUpdate; 1000]>);

// SAFETY: there is one vcpu.
unsafe impl Sync for Requests {}

static REQUESTS: Requests = Requests(UnsafeCell::new([MmuUpdate { ptr: 0, val: 0 }; 1000]));

fn flags_only(t: &mut Trial) -> Verdict {
    let page = frame();
    let index = pte::index(place(41), 1) as u64;
    // SAFETY: one case at a time is here.
    let requests = unsafe { &mut *REQUESTS.0.get() };
    for (round, request) in (0..).zip(requests.iter_mut()) {
        let bits = DATA | NX | (round & 7) << 9;
        *request = MmuUpdate::new(places() << 12 | index << 3, MMU_NORMAL_PT_UPDATE, entry(page, bits));
    }
    let arguments = [requests.as_ptr() as u64, 1000, 0, DOMID_SELF.into(), 0];
    t.succeeds("changes", raw(HYPERVISOR_MMU_UPDATE, arguments));
    t.refused("held", Errno::EINVAL, || pinnable(page));
    t.succeeds("away", set_entry(places(), index as usize, 0));
    place(41);
    t.succeeds("free", pinnable(page));
    Ok(())
}

fn half_made(t: &mut Trial) -> Verdict {
    let page = frame();
    let good = filled(&[(0, entry(page, DATA))]);
    let bad = filled(&[(0, entry(page, DATA)), (511, entry(BEYOND, DATA))]);
    let l2 = filled(&[(0, entry(good, DATA)), (1, entry(good, DATA)), (511, entry(bad, DATA))]);
    let l3 = filled(&[(0, entry(l2, DATA))]);
    let l4 = filled(&[(0, entry(l3, DATA))]);
    t.refused("pin", Errno::EPERM, || mmuext(MMUEXT_PIN_L4_TABLE, l4, 0));
    t.refused("hook", Errno::EPERM, || hook(l3));
    for (name, table) in [("l4", l4), ("l3", l3), ("l2", l2), ("good", good), ("bad", bad)] {
        t.succeeds(format_args!("{name}.free"), writable(table));
    }
    t.succeeds("page-free", pinnable(page));
    Ok(())
}
