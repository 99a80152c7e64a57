//! On another vcpu, which looks at the page all the while.

use paravane_abi::grant::{GNTST_OKAY, GNTTABOP_UNMAP_GRANT_REF, GnttabUnmapGrantRef};
use paravane_abi::hypercall::HYPERVISOR_UPDATE_VA_MAPPING;
use paravane_abi::mmu::{
    MMUEXT_INVLPG_ALL, MMUEXT_INVLPG_MULTI, MMUEXT_PIN_L1_TABLE, MMUEXT_TLB_FLUSH_ALL,
    MMUEXT_TLB_FLUSH_MULTI, MMUEXT_UNPIN_TABLE, UVMF_ALL, UVMF_INVLPG, UVMF_TLB_FLUSH,
};
use paravane_abi::pte;
use pv_probe::grants;
use pv_probe::guard::{Caught, RETURNED};
use pv_probe::hypercall::{mmuext, raw, set_entry};
use pv_probe::memory::{DATA, NX, READ, peek, root};

use super::watch::{WRITTEN, Watch};
use crate::case::{Case, Row, Stop, Verdict};
use crate::rows::event_channel_op::own_number;
use crate::rows::grant_table_op::{self, REFERENCE};
use crate::rows::tables::{Mapped, entry, filled, frame, hierarchy, place, places};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "flush-visibility-others",
    &[
        Case::good("page-all", "update_va_mapping with UVMF_INVLPG | UVMF_ALL", |t| {
            seen(t, |va, value| update(va, value, UVMF_INVLPG | UVMF_ALL))
        }),
        Case::good("tlb-all", "update_va_mapping with UVMF_TLB_FLUSH | UVMF_ALL", |t| {
            seen(t, |va, value| update(va, value, UVMF_TLB_FLUSH | UVMF_ALL))
        }),
        Case::good("page-multi", "update_va_mapping with UVMF_INVLPG and a bitmap", |t| {
            let vcpus = 2u64;
            seen(t, |va, value| update(va, value, UVMF_INVLPG | &raw const vcpus as u64))
        }),
        Case::good("tlb-multi", "update_va_mapping with UVMF_TLB_FLUSH and a bitmap", |t| {
            let vcpus = 3u64;
            seen(t, |va, value| update(va, value, UVMF_TLB_FLUSH | &raw const vcpus as u64))
        }),
        Case::good("operation-tlb-all", "MMUEXT_TLB_FLUSH_ALL", |t| operation(t, MMUEXT_TLB_FLUSH_ALL, 0)),
        Case::good("operation-page-all", "MMUEXT_INVLPG_ALL", |t| operation(t, MMUEXT_INVLPG_ALL, 0)),
        Case::good("operation-tlb-multi", "MMUEXT_TLB_FLUSH_MULTI", |t| {
            operation(t, MMUEXT_TLB_FLUSH_MULTI, 2)
        }),
        Case::good("operation-page-multi", "MMUEXT_INVLPG_MULTI", |t| operation(t, MMUEXT_INVLPG_MULTI, 2)),
        Case::good("unmapped", "a page that is taken away faults at once", unmapped),
        Case::good("read-only", "a page that is made read-only faults at the next write", read_only),
        Case::good("grant-unmapped", "a lent page that is given back faults at once", grant_unmapped),
        Case::good("l2-cleared", "an L2 entry that is cleared needs no flush", |t| upper_cleared(t, 2)),
        Case::good("l3-cleared", "an L3 entry that is cleared needs no flush", |t| upper_cleared(t, 3)),
        Case::good("l4-cleared", "an L4 entry that is cleared needs no flush", |t| upper_cleared(t, 4)),
        Case::good("l3-replaced", "an L3 entry that names another table needs no flush", upper_replaced),
        Case::good("l4-set", "an L4 entry that was set is seen", upper_set),
        Case::good(
            "type-change",
            "a page that becomes a table is not written by a mapping that is gone",
            type_change,
        ),
    ],
)
.no_refusal("flushes are not refused: the calls' rows have what is");

fn update(va: u64, entry: u64, flags: u64) -> i64 {
    raw(HYPERVISOR_UPDATE_VA_MAPPING, [va, entry, flags, 0, 0])
}

/// The word that is seen, or nothing.
fn sees(t: &mut Trial, what: core::fmt::Arguments<'_>, watch: &Watch, want: u64) {
    t.same(what, watch.sees(), Some(want));
}

/// The function should have come to its end.
fn ended(t: &mut Trial, what: &str, caught: Option<Caught>, vector: u64, error: Option<u64>) -> Verdict {
    let caught = caught.ok_or(Stop::Error("vcpu 1 goes on and on", 0))?;
    t.raises(what, &caught, vector, error);
    Ok(())
}

/// Maps two pages in turn: the other vcpu sees each.
fn seen(t: &mut Trial, mut change: impl FnMut(u64, u64) -> i64) -> Verdict {
    let frames = [filled(&[(0, 0xa)]), filled(&[(0, 0xb)])];
    let page = Mapped::new(22, frames[0]);
    let watch = Watch::reader(page.address())?;
    sees(t, format_args!("first"), &watch, 0xa);
    for round in 0..6usize {
        let frame = frames[(round + 1) % 2];
        t.succeeds(format_args!("change.{round}"), change(page.address(), entry(frame, DATA | NX)));
        sees(t, format_args!("seen.{round}"), &watch, 0xa + (round as u64 + 1) % 2);
    }
    ended(t, "end", watch.end(), RETURNED, None)
}

fn operation(t: &mut Trial, command: u32, vcpus: u64) -> Verdict {
    let l1 = places();
    seen(t, |va, value| match set_entry(l1, pte::index(va, 1), value) {
        0 => mmuext(command, va, &raw const vcpus as u64),
        error => error,
    })
}

fn unmapped(t: &mut Trial) -> Verdict {
    let page = Mapped::new(22, frame());
    let watch = Watch::reader(page.address())?;
    t.succeeds("unmap", update(page.address(), 0, UVMF_INVLPG | UVMF_ALL));
    ended(t, "end", watch.ends_by_itself(), 14, Some(0))
}

fn grant_unmapped(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    let (address, frame) = grant_table_op::page(0, 5);
    grants::permit(REFERENCE, own, frame, false);
    let there = grant_table_op::place(1);
    let mapped = grants::map_reference(own, REFERENCE, there, 0);
    t.need("map", mapped.status.into())?;
    let watch = Watch::reader(there)?;
    let mut request = GnttabUnmapGrantRef { host_addr: there, handle: mapped.handle, ..Default::default() };
    t.succeeds("unmap", grant_table_op::one(GNTTABOP_UNMAP_GRANT_REF, &mut request));
    t.equal("status", request.status as u64, GNTST_OKAY as u64);
    ended(t, "end", watch.ends_by_itself(), 14, Some(0))?;
    grant_table_op::clear(REFERENCE);
    grant_table_op::drop_page(t, address)
}

fn read_only(t: &mut Trial) -> Verdict {
    let frame = frame();
    let page = Mapped::new(22, frame);
    let watch = Watch::writer(page.address())?;
    t.succeeds("protect", update(page.address(), entry(frame, READ | NX), UVMF_INVLPG | UVMF_ALL));
    ended(t, "end", watch.ends_by_itself(), 14, Some(3))
}

/// An address in an L4 slot where nothing is.
const FAR: u64 = 0xffff_8c00_0000_3000;

/// Maps a page there by tables of its own: the L3.
fn mapped_far(t: &mut Trial, word: u64) -> Result<u64, Stop> {
    let l3 = hierarchy(FAR, entry(filled(&[(0, word)]), DATA));
    t.need("l4-entry", set_entry(root(), pte::index(FAR, 4), entry(l3, DATA)))?;
    Ok(l3)
}

fn upper_cleared(t: &mut Trial, level: u32) -> Verdict {
    let l3 = mapped_far(t, 0x77)?;
    let watch = Watch::reader(FAR)?;
    sees(t, format_args!("before"), &watch, 0x77);
    let table = match level {
        2 => pte::mfn(peek(l3, pte::index(FAR, 3))),
        3 => l3,
        _ => root(),
    };
    t.succeeds("clear", set_entry(table, pte::index(FAR, level), 0));
    let caught = watch.ends_by_itself();
    t.need("away", set_entry(root(), pte::index(FAR, 4), 0))?;
    ended(t, "end", caught, 14, Some(0))
}

fn upper_replaced(t: &mut Trial) -> Verdict {
    let l3 = mapped_far(t, 0xa)?;
    let index = pte::index(FAR, 3);
    let other = peek(hierarchy(FAR, entry(filled(&[(0, 0xb)]), DATA)), index);
    // The table that is replaced stays one, to come back.
    let first = peek(l3, index);
    let watch = Watch::reader(FAR)?;
    for round in 0..6usize {
        let (value, want) = if round % 2 == 0 { (other, 0xb) } else { (first, 0xa) };
        t.succeeds(format_args!("set.{round}"), set_entry(l3, index, entry(pte::mfn(value), DATA)));
        sees(t, format_args!("seen.{round}"), &watch, want);
    }
    let caught = watch.end();
    t.need("away", set_entry(root(), pte::index(FAR, 4), 0))?;
    ended(t, "end", caught, RETURNED, None)
}

fn upper_set(t: &mut Trial) -> Verdict {
    // The other vcpu runs all the while on the table that changes.
    let near = Mapped::new(22, frame());
    let watch = Watch::reader(near.address())?;
    let set = mapped_far(t, 0x55);
    let caught = watch.end();
    set?;
    ended(t, "near", caught, RETURNED, None)?;
    let watch = Watch::reader(FAR)?;
    sees(t, format_args!("far"), &watch, 0x55);
    let caught = watch.end();
    t.need("away", set_entry(root(), pte::index(FAR, 4), 0))?;
    ended(t, "end", caught, RETURNED, None)
}

fn type_change(t: &mut Trial) -> Verdict {
    let frame = frame();
    let va = place(22);
    let index = pte::index(va, 1);
    t.need("map", set_entry(places(), index, entry(frame, DATA | NX)))?;
    let watch = Watch::writer(va)?;
    // No flush is asked for.
    t.succeeds("unmap", set_entry(places(), index, 0));
    t.succeeds("pin", mmuext(MMUEXT_PIN_L1_TABLE, frame, 0));
    t.succeeds("entry", set_entry(frame, 0, 0x4444_0000));
    let caught = watch.ends_by_itself();
    t.equal("kept", peek(frame, 0), 0x4444_0000);
    t.succeeds("unpin", mmuext(MMUEXT_UNPIN_TABLE, frame, 0));
    t.holds("other-word", WRITTEN != 0x4444_0000);
    ended(t, "end", caught, 14, Some(2))
}
