//! `MMUEXT_NEW_BASEPTR`, operation 5 of `mmuext_op` (xen/include/public/xen.h).
//!
//! Loads an L4 as this vcpu's kernel's: what a write of CR3 is to a processor. The table is held as long as it is in use,
//! pinned or not, and the one before it is let go of. The table in use may be named again, which flushes.
//!
//! Refused: frames that are not this domain's, are mapped for writing or are tables of another level (`EINVAL`); tables with
//! an entry that could not be written, by the code that writing it would give. The table before stays in use.

use paravane_abi::errno::Errno;
use paravane_abi::mmu::{MMUEXT_NEW_BASEPTR, MMUEXT_PIN_L4_TABLE, MMUEXT_UNPIN_TABLE};
use pv_probe::hypercall::{mmuext, set_entry};
use pv_probe::memory::{DATA, poke, root};

use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::rows::tables::{
    BEYOND, LOW, Mapped, copied_root, entry, filled, frame, hierarchy, hypervisor_frame, places, remapped,
    writable,
};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "mmuext_op",
    "new_baseptr",
    &[
        Case::good("switched", "the new table's mappings are in effect, and the old one's are not", switched),
        Case::good("held", "a table in use is one, though it is not pinned", held),
        Case::good("let-go", "the table before is let go of", let_go),
        Case::good("again", "the table in use again: what is remembered is forgotten", again),
        Case::good("entries", "entries of a table in use are in effect at once", entries),
        Case::refusal("frames", "frames that are not this domain's", frames),
        Case::refusal("in-use", "frames that are mapped for writing, or tables of another level", in_use),
        Case::refusal("below", "tables with an entry that could not be written", below),
    ],
);

/// An address in an L4 slot where nothing is, and the slot.
const FAR: u64 = 0xffff_8b00_0000_2000;
const FAR_SLOT: usize = 278;

fn load(frame: u64) -> i64 {
    mmuext(MMUEXT_NEW_BASEPTR, frame, 0)
}

fn switched(t: &mut Trial) -> Verdict {
    let page = frame();
    poke(page, 0, 0x4444);
    let other = copied_root();
    poke(other, FAR_SLOT, entry(hierarchy(FAR, entry(page, DATA)), DATA));
    t.does_not_read("before", FAR);
    t.succeeds("load", load(other));
    t.reads("while", FAR, 0x4444);
    t.succeeds("back", load(root()));
    t.does_not_read("after", FAR);
    Ok(())
}

fn held(t: &mut Trial) -> Verdict {
    let other = copied_root();
    t.succeeds("load", load(other));
    t.refused("writable", Errno::EBUSY, || writable(other));
    t.succeeds("pin", mmuext(MMUEXT_PIN_L4_TABLE, other, 0));
    t.succeeds("unpin", mmuext(MMUEXT_UNPIN_TABLE, other, 0));
    t.refused("still", Errno::EBUSY, || writable(other));
    t.succeeds("back", load(root()));
    Ok(())
}

fn let_go(t: &mut Trial) -> Verdict {
    let (first, second) = (copied_root(), copied_root());
    t.succeeds("first", load(first));
    t.succeeds("second", load(second));
    t.succeeds("first-free", writable(first));
    t.succeeds("back", load(root()));
    t.succeeds("second-free", writable(second));
    Ok(())
}

fn again(t: &mut Trial) -> Verdict {
    remapped(t, |_| load(root()));
    Ok(())
}

fn entries(t: &mut Trial) -> Verdict {
    let other = copied_root();
    let page = frame();
    poke(page, 0, 0x5555);
    let l3 = hierarchy(FAR, entry(page, DATA));
    t.succeeds("load", load(other));
    t.succeeds("set", set_entry(other, FAR_SLOT, entry(l3, DATA)));
    t.reads("seen", FAR, 0x5555);
    // The other table's entry is not this one's.
    t.succeeds("set-unused", set_entry(root(), FAR_SLOT + 1, 0));
    t.reads("still", FAR, 0x5555);
    t.succeeds("clear", set_entry(other, FAR_SLOT, 0));
    t.does_not_read("gone", FAR);
    t.succeeds("back", load(root()));
    Ok(())
}

fn frames(t: &mut Trial) -> Verdict {
    for (name, frame) in [
        ("zero", 0),
        ("low", LOW),
        ("beyond", BEYOND),
        ("none", pointers::NO_FRAME),
        ("hypervisor", hypervisor_frame()),
    ] {
        t.refused(name, Errno::EINVAL, || load(frame));
    }
    Ok(())
}

fn in_use(t: &mut Trial) -> Verdict {
    t.refused("l1", Errno::EINVAL, || load(places()));
    let other = copied_root();
    let page = Mapped::new(0, other);
    t.refused("writable", Errno::EINVAL, || load(other));
    drop(page);
    t.succeeds("unmapped", load(other));
    t.succeeds("back", load(root()));
    Ok(())
}

fn below(t: &mut Trial) -> Verdict {
    let other = copied_root();
    let l1 = filled(&[(0, entry(BEYOND, DATA))]);
    let l2 = filled(&[(0, entry(l1, DATA))]);
    poke(other, FAR_SLOT, entry(filled(&[(0, entry(l2, DATA))]), DATA));
    t.refused("beyond", Errno::EPERM, || load(other));
    poke(other, FAR_SLOT, entry(BEYOND, DATA));
    t.refused("no-table", Errno::EINVAL, || load(other));
    t.succeeds("free", writable(other));
    Ok(())
}
