//! `MMU_PT_UPDATE_PRESERVE_AD`, command 2 of `mmu_update` (xen/include/public/xen.h).
//!
//! Writes an entry as command 0 does, and keeps the accessed and dirty bits that stand in it at that moment: what the
//! processor sets meanwhile is not lost. Bits that the new entry has are set besides.
//!
//! Refused: what command 0 refuses.

use paravane_abi::errno::Errno;
use paravane_abi::mmu::{MMU_PT_UPDATE_PRESERVE_AD, MmuUpdate};
use paravane_abi::pte;
use pv_probe::memory::{A, D, DATA, NX, P, PS, RW, US, peek, root, write};

use super::{normal, own};
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::rows::tables::{BEYOND, Mapped, entry, frame, hierarchy, place, places, slot};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "mmu_update",
    "pt_update_preserve_ad",
    &[
        Case::good("kept", "bits that are set stay set", kept),
        Case::good("not-set", "bits that are not set are not invented", not_set),
        Case::good("given", "bits of the new entry are set", given),
        Case::good("another-frame", "they are kept when the frame is another", another_frame),
        Case::good("processor", "what the processor set is kept", processor),
        Case::good("normal", "command 0 does not keep them", normal_clears),
        Case::good("upper", "entries of an L2 keep them too", upper),
        Case::good("untyped", "in a page that is no table the word is written", untyped),
        Case::refusal("refused", "entries that command 0 refuses", refused),
    ],
);

fn preserve(table: u64, index: u64, value: u64) -> i64 {
    own(&[MmuUpdate::new(table << 12 | index << 3, MMU_PT_UPDATE_PRESERVE_AD, value)]).0
}

/// Bits that the processor and this command are about.
const MARKS: u64 = A | D;

/// The place's index in its L1, and flags without marks.
const INDEX: u64 = 5;
const PLAIN: u64 = P | RW | US | NX;

fn kept(t: &mut Trial) -> Verdict {
    let frame = frame();
    for (name, marks) in [("both", MARKS), ("accessed", A), ("dirty", D)] {
        let page = Mapped::with(INDEX, entry(frame, PLAIN | marks));
        t.succeeds(name, preserve(places(), INDEX, entry(frame, PLAIN | 1 << 9)));
        t.flags(format_args!("{name}.flags"), page.entry(), MARKS | 1 << 9, marks | 1 << 9);
    }
    Ok(())
}

fn not_set(t: &mut Trial) -> Verdict {
    let frame = frame();
    let page = Mapped::with(INDEX, entry(frame, PLAIN));
    t.succeeds("call", preserve(places(), INDEX, entry(frame, PLAIN | 1 << 9)));
    t.flags("flags", page.entry(), MARKS, 0);
    Ok(())
}

fn given(t: &mut Trial) -> Verdict {
    let frame = frame();
    let page = Mapped::with(INDEX, entry(frame, PLAIN));
    t.succeeds("call", preserve(places(), INDEX, entry(frame, PLAIN | D)));
    t.flags("flags", page.entry(), MARKS, D);
    Ok(())
}

fn another_frame(t: &mut Trial) -> Verdict {
    let (first, second) = (frame(), frame());
    let page = Mapped::with(INDEX, entry(first, PLAIN | MARKS));
    t.succeeds("call", preserve(places(), INDEX, entry(second, PLAIN)));
    t.flags("flags", page.entry(), MARKS, MARKS);
    t.holds("frame", pte::mfn(page.entry()) == second);
    Ok(())
}

fn processor(t: &mut Trial) -> Verdict {
    let frame = frame();
    let page = Mapped::with(INDEX, entry(frame, PLAIN));
    // SAFETY: the case's page.
    unsafe { write(page.address(), 1) };
    t.flags("before", page.entry(), MARKS, MARKS);
    t.succeeds("call", preserve(places(), INDEX, entry(frame, P | US | NX)));
    t.flags("after", page.entry(), MARKS | RW, MARKS);
    Ok(())
}

fn normal_clears(t: &mut Trial) -> Verdict {
    let frame = frame();
    let page = Mapped::with(INDEX, entry(frame, PLAIN | MARKS));
    t.succeeds("call", own(&[normal(places(), INDEX, entry(frame, PLAIN))]).0);
    t.flags("flags", page.entry(), MARKS, 0);
    Ok(())
}

fn upper(t: &mut Trial) -> Verdict {
    let va = place(0) + (1 << 30);
    let l3 = pte::mfn(slot(root(), pte::index(va, 4)));
    let index = pte::index(va, 3);
    let below = pte::mfn(slot(hierarchy(va, 0), index));
    t.succeeds("set", own(&[normal(l3, index as u64, entry(below, P | RW | US | A))]).0);
    t.succeeds("call", preserve(l3, index as u64, entry(below, P | RW | US | 1 << 9)));
    t.flags("flags", slot(l3, index), A | 1 << 9, A | 1 << 9);
    t.succeeds("away", own(&[normal(l3, index as u64, 0)]).0);
    Ok(())
}

fn untyped(t: &mut Trial) -> Verdict {
    let frame = frame();
    t.succeeds("first", preserve(frame, 3, 0x1234));
    t.equal("word", peek(frame, 3), 0x1234);
    Ok(())
}

fn refused(t: &mut Trial) -> Verdict {
    let frame = frame();
    for (name, value, error) in [
        ("beyond", entry(BEYOND, DATA), Errno::EPERM),
        ("none", entry(pointers::NO_FRAME, DATA), Errno::EINVAL),
        ("table-writable", entry(places(), DATA), Errno::EBUSY),
        ("large", entry(frame, DATA | PS), Errno::EINVAL),
    ] {
        t.refused(name, error, || preserve(places(), INDEX, value));
    }
    Ok(())
}
