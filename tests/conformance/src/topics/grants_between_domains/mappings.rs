//! Mappings of what another domain lends.

use paravane_abi::grant::{
    GNTMAP_CONTAINS_PTE, GNTMAP_READONLY, GNTST_BAD_GNTREF, GNTST_GENERAL_ERROR, GNTST_OKAY,
    GNTTAB_CACHE_CLEAN, GNTTABOP_CACHE_FLUSH, GnttabCacheFlush,
};
use paravane_abi::mmu::{MMUEXT_PIN_L1_TABLE, MMUEXT_UNPIN_TABLE};
use paravane_abi::pte;
use paravane_abi::trap::vector;
use pv_probe::grants;
use pv_probe::hypercall::mmuext;
use pv_probe::memory::{l1_for, read, write};

use super::{lend, map, take_back};
use crate::case::{Case, Role, Row, Verdict};
use crate::pair::{meet, peer, receive, send};
use crate::rows::event_channel_op::NOBODY;
use crate::rows::grant_table_op::map_grant_ref::{WRITE_FAULT, try_write};
use crate::rows::grant_table_op::{REFERENCE, clear, drop_page, one, page, place, uses};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "grants-between-domains",
    &[
        Case::good("writable", "what either writes the other reads", writable).role(Role::Pair),
        Case::good("read-only", "what is mapped for reading cannot be written", read_only).role(Role::Pair),
        Case::good("twice", "an entry is in use until the last mapping goes", twice).role(Role::Pair),
        Case::good("by-entry", "in a page-table entry of the borrower's", by_entry).role(Role::Pair),
        Case::good("revoked-while-mapped", "a mapping outlives the entry's permission", revoked)
            .role(Role::Pair),
        Case::good("outlives-lender", "a mapping outlives the lender's own", outlives).role(Role::Pair),
        Case::good("caches", "the borrower may write back caches of what it has mapped", caches)
            .role(Role::Pair),
        Case::refusal("more-than-lent", "writing, where reading is lent", more).role(Role::Pair),
        Case::refusal("not-lent", "entries that lend nothing, or to another", not_lent).role(Role::Pair),
        Case::refusal("past-table", "a reference past the lender's table", past_table).role(Role::Pair),
        Case::refusal("kind-of-use", "what another has mapped for writing is no page table", no_table)
            .role(Role::Pair),
    ],
);

fn word(address: u64) -> u64 {
    // SAFETY: the cases read what they have mapped.
    unsafe { read(address) }
}

fn put(address: u64, value: u64) {
    // SAFETY: the cases write what they have mapped for it.
    unsafe { write(address, value) };
}

fn writable(t: &mut Trial) -> Verdict {
    let (address, _) = lend(t, 31, false)?;
    let side = t.side();
    if side.is_left() {
        receive(side)?;
        t.equal("written", word(address + 8), 32);
        t.same("in-use", uses(REFERENCE), (true, true));
        put(address, 33);
        send(side, 0)?;
        receive(side)?;
        t.same("not-in-use", uses(REFERENCE), (false, false));
    } else {
        let there = place(1);
        let handle = map(t, there, 0);
        t.equal("read", word(there), 31);
        put(there + 8, 32);
        send(side, 0)?;
        receive(side)?;
        t.equal("read-again", word(there), 33);
        t.same("unmap", grants::unmap(handle, there), GNTST_OKAY);
        send(side, 0)?;
    }
    take_back(t, address)
}

fn read_only(t: &mut Trial) -> Verdict {
    let (address, _) = lend(t, 34, true)?;
    let side = t.side();
    if side.is_left() {
        receive(side)?;
        t.same("in-use", uses(REFERENCE), (true, false));
        t.holds("not-yet", !grants::revoke(REFERENCE));
        send(side, 0)?;
    } else {
        let there = place(1);
        let handle = map(t, there, GNTMAP_READONLY);
        t.equal("read", word(there), 34);
        t.raises("write", &try_write(there), vector::PF.into(), Some(WRITE_FAULT));
        send(side, 0)?;
        receive(side)?;
        t.same("unmap", grants::unmap(handle, there), GNTST_OKAY);
    }
    take_back(t, address)
}

fn twice(t: &mut Trial) -> Verdict {
    let (address, _) = lend(t, 35, false)?;
    let side = t.side();
    if side.is_left() {
        for expected in [(true, true), (true, false), (false, false)] {
            receive(side)?;
            t.same("in-use", uses(REFERENCE), expected);
            send(side, 0)?;
        }
    } else {
        let places = [place(1), place(2)];
        let handles = [map(t, places[0], 0), map(t, places[1], GNTMAP_READONLY)];
        t.holds("handles", handles[0] != handles[1]);
        t.same("read", places.map(word), [35; 2]);
        for index in 0..2 {
            send(side, 0)?;
            receive(side)?;
            t.same("unmap", grants::unmap(handles[index], places[index]), GNTST_OKAY);
        }
        send(side, 0)?;
        receive(side)?;
    }
    take_back(t, address)
}

fn by_entry(t: &mut Trial) -> Verdict {
    let (address, _) = lend(t, 36, false)?;
    if !t.side().is_left() {
        let there = place(1);
        let entry = l1_for(there) << 12 | (pte::index(there, 1) as u64) << 3;
        let handle = map(t, entry, GNTMAP_CONTAINS_PTE);
        t.equal("read", word(there), 36);
        t.same("unmap", grants::unmap(handle, entry), GNTST_OKAY);
        t.raises("gone", &try_write(there), vector::PF.into(), Some(WRITE_FAULT & !1));
    }
    take_back(t, address)
}

fn revoked(t: &mut Trial) -> Verdict {
    let (address, frame) = lend(t, 37, false)?;
    let side = t.side();
    if side.is_left() {
        receive(side)?;
        // As no kernel should: the permission is taken away without asking whether it is in use.
        clear(REFERENCE);
        send(side, 0)?;
        receive(side)?;
        grants::permit(REFERENCE, peer(), frame, false);
    } else {
        let there = place(1);
        let handle = map(t, there, 0);
        send(side, 0)?;
        receive(side)?;
        t.equal("still", word(there), 37);
        let second = grants::map_reference(peer(), REFERENCE, place(2), 0);
        // The entry is in use already, for as much: it is not looked at again.
        t.same("second", second.status, GNTST_OKAY);
        t.same("unmap-second", grants::unmap(second.handle, place(2)), GNTST_OKAY);
        t.same("unmap", grants::unmap(handle, there), GNTST_OKAY);
        let third = grants::map_reference(peer(), REFERENCE, place(2), 0);
        t.same("third", third.status, GNTST_GENERAL_ERROR);
        send(side, 0)?;
    }
    take_back(t, address)
}

fn outlives(t: &mut Trial) -> Verdict {
    let (address, frame) = lend(t, 38, false)?;
    let side = t.side();
    if side.is_left() {
        receive(side)?;
        drop_page(t, address)?;
        send(side, 0)?;
        receive(side)?;
        let data = pv_probe::memory::DATA;
        t.need("map again", pv_probe::hypercall::map(address, frame << 12 | data))?;
        t.equal("written", word(address), 39);
    } else {
        let there = place(1);
        let handle = map(t, there, 0);
        send(side, 0)?;
        receive(side)?;
        t.equal("read", word(there), 38);
        put(there, 39);
        t.same("unmap", grants::unmap(handle, there), GNTST_OKAY);
        send(side, 0)?;
    }
    take_back(t, address)
}

fn caches(t: &mut Trial) -> Verdict {
    let (address, _) = lend(t, 40, false)?;
    if !t.side().is_left() {
        let there = place(1);
        let mapped = grants::map_reference(peer(), REFERENCE, there, 0);
        t.same("map", mapped.status, GNTST_OKAY);
        let flush = || {
            let a = mapped.dev_bus_addr;
            let mut request = GnttabCacheFlush { a, offset: 0, length: 4096, op: GNTTAB_CACHE_CLEAN };
            one(GNTTABOP_CACHE_FLUSH, &mut request)
        };
        t.succeeds("mapped", flush());
        t.same("unmap", grants::unmap(mapped.handle, there), GNTST_OKAY);
        t.fails("not-mapped", flush(), paravane_abi::errno::Errno::EINVAL);
    }
    take_back(t, address)
}

/// A mapping that is refused with this status, and changes nothing.
fn refused(t: &mut Trial, what: &str, reference: u32, status: i16) {
    let there = place(1);
    let got = t.unchanged(what, || grants::map_reference(peer(), reference, there, 0).status);
    t.same(what, got, status);
}

fn more(t: &mut Trial) -> Verdict {
    let (address, _) = lend(t, 41, true)?;
    if !t.side().is_left() {
        refused(t, "map", REFERENCE, GNTST_GENERAL_ERROR);
    }
    take_back(t, address)
}

fn not_lent(t: &mut Trial) -> Verdict {
    grants::prepare();
    let side = t.side();
    if side.is_left() {
        let (address, frame) = page(0, 42);
        grants::permit(REFERENCE, NOBODY, frame, false);
        clear(REFERENCE + 1);
        meet(side)?;
        return take_back(t, address);
    }
    meet(side)?;
    refused(t, "to-another", REFERENCE, GNTST_GENERAL_ERROR);
    refused(t, "nothing", REFERENCE + 1, GNTST_GENERAL_ERROR);
    take_back(t, 0)
}

fn past_table(t: &mut Trial) -> Verdict {
    grants::prepare();
    meet(t.side())?;
    refused(t, "map", 1 << 20, GNTST_BAD_GNTREF);
    meet(t.side())
}

fn no_table(t: &mut Trial) -> Verdict {
    let (address, frame) = lend(t, 0, false)?;
    let side = t.side();
    if side.is_left() {
        receive(side)?;
        drop_page(t, address)?;
        t.fails("mapped", mmuext(MMUEXT_PIN_L1_TABLE, frame, 0), paravane_abi::errno::Errno::EINVAL);
        send(side, 0)?;
        receive(side)?;
        t.succeeds("unmapped", mmuext(MMUEXT_PIN_L1_TABLE, frame, 0));
        t.need("unpin", mmuext(MMUEXT_UNPIN_TABLE, frame, 0))?;
    } else {
        let there = place(1);
        let handle = map(t, there, 0);
        send(side, 0)?;
        receive(side)?;
        t.same("unmap", grants::unmap(handle, there), GNTST_OKAY);
        send(side, 0)?;
    }
    take_back(t, address)
}
