//! `MMU_PT_UPDATE_NO_TRANSLATE`, command 3 of `mmu_update` (xen/include/public/xen.h).
//!
//! Writes an entry as command 0 does. Command 0 translates the frame where the domain that owns it has its memory
//! translated by the hypervisor; this one does not. Among PV domains there is no difference.
//!
//! Refused: what command 0 refuses.

use paravane_abi::errno::Errno;
use paravane_abi::mmu::{MMU_PT_UPDATE_NO_TRANSLATE, MmuUpdate};
use pv_probe::memory::{A, D, DATA, NX, P, PS, RW, US, peek, poke};

use super::own;
use crate::case::{Case, Row, Verdict};
use crate::rows::pointers;
use crate::rows::tables::{BEYOND, LOW, Mapped, entry, frame, place, places, writable};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "mmu_update",
    "pt_update_no_translate",
    &[
        Case::good("maps", "an entry maps its machine frame", maps),
        Case::good("unmaps", "an entry that is not present unmaps, and lets go of the frame", unmaps),
        Case::good("marks", "accessed and dirty bits are not kept", marks),
        Case::good("untyped", "in a page that is no table the word is written", untyped),
        Case::refusal("refused", "entries that command 0 refuses", refused),
        Case::refusal("tables", "tables that are not this domain's", tables),
    ],
);

fn update(table: u64, index: u64, value: u64) -> i64 {
    own(&[MmuUpdate::new(table << 12 | index << 3, MMU_PT_UPDATE_NO_TRANSLATE, value)]).0
}

fn maps(t: &mut Trial) -> Verdict {
    let frame = frame();
    poke(frame, 0, 0x1234);
    t.succeeds("map", update(places(), 3, entry(frame, DATA | NX)));
    t.reads("read", place(3), 0x1234);
    t.succeeds("unmap", update(places(), 3, 0));
    Ok(())
}

fn unmaps(t: &mut Trial) -> Verdict {
    let frame = frame();
    t.succeeds("map", update(places(), 3, entry(frame, DATA | NX)));
    t.succeeds("unmap", update(places(), 3, 0));
    t.succeeds("free", crate::rows::tables::pinnable(frame));
    t.succeeds("writable", writable(frame));
    Ok(())
}

fn marks(t: &mut Trial) -> Verdict {
    let frame = frame();
    let page = Mapped::with(3, entry(frame, DATA | NX));
    t.succeeds("call", update(places(), 3, entry(frame, P | RW | US | NX)));
    t.flags("flags", page.entry(), A | D, 0);
    Ok(())
}

fn untyped(t: &mut Trial) -> Verdict {
    let frame = frame();
    t.succeeds("call", update(frame, 511, u64::MAX));
    t.equal("word", peek(frame, 511), u64::MAX);
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
        t.refused(name, error, || update(places(), 3, value));
    }
    Ok(())
}

fn tables(t: &mut Trial) -> Verdict {
    for (name, frame) in [("low", LOW), ("beyond", BEYOND), ("none", pointers::NO_FRAME)] {
        t.refused(name, Errno::EINVAL, || update(frame, 0, 0));
    }
    Ok(())
}
