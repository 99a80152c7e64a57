//! `GNTTABOP_unmap_and_replace` (grant_table.h, `struct gnttab_unmap_and_replace`): takes a mapping away and moves another to its address; where
//! that was there is nothing then.
//!
//! Statuses of refusal: a handle that there is not (`GNTST_bad_handle`); an address without a page table, and a mapping that was made in a
//! given page-table entry (`GNTST_general_error`). A list that cannot be read is `EFAULT`.

use paravane_abi::grant::{
    GNTMAP_CONTAINS_PTE, GNTST_BAD_HANDLE, GNTST_GENERAL_ERROR, GNTST_OKAY, GNTTABOP_UNMAP_AND_REPLACE,
    GnttabUnmapAndReplace,
};
use paravane_abi::pte;
use paravane_abi::trap::vector;
use pv_probe::grants;
use pv_probe::memory::{l1_for, read};

use super::map_grant_ref::{WRITE_FAULT, try_write};
use super::{REFERENCE, clear, drop_page, one, page, place, unreadable, uses};
use crate::case::{Case, Row, Verdict};
use crate::rows::event_channel_op::own_number;
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "grant_table_op",
    "unmap_and_replace",
    &[
        Case::good("replaces", "the other page moves to the mapping's address", replaces),
        Case::good("nothing", "without another address it is an unmapping", nothing),
        Case::refusal("no-handle", "a handle that there is not", no_handle),
        Case::refusal("no-table", "another address without a page table", no_table),
        Case::refusal("by-entry", "a mapping that was made in a given page-table entry", by_entry),
        Case::refusal("pointers", "lists that cannot be read", |t| {
            unreadable(t, GNTTABOP_UNMAP_AND_REPLACE);
            Ok(())
        }),
    ],
);

fn replace(handle: u32, host_addr: u64, new_addr: u64) -> (i64, i16) {
    let mut request = GnttabUnmapAndReplace { host_addr, new_addr, handle, status: 77, pad: 0 };
    let result = one(GNTTABOP_UNMAP_AND_REPLACE, &mut request);
    (result, request.status)
}

fn word(address: u64) -> u64 {
    // SAFETY: the cases read what they have mapped.
    unsafe { read(address) }
}

/// A frame lent to oneself and mapped: its own address, the mapping's, the handle.
fn lent(t: &mut Trial) -> Result<(u64, u64, u32), crate::case::Stop> {
    grants::prepare();
    let own = own_number()?;
    let (address, frame) = page(0, 7);
    grants::permit(REFERENCE, own, frame, false);
    let there = place(1);
    let mapped = grants::map_reference(own, REFERENCE, there, 0);
    t.need("map", mapped.status.into())?;
    Ok((address, there, mapped.handle))
}

fn replaces(t: &mut Trial) -> Verdict {
    let (address, there, handle) = lent(t)?;
    let (other, _) = page(2, 8);
    t.equal("before", word(there), 7);
    t.same("replace", replace(handle, there, other), (0, GNTST_OKAY));
    t.equal("after", word(there), 8);
    t.raises("moved", &try_write(other), vector::PF.into(), Some(WRITE_FAULT & !1));
    t.same("not-in-use", uses(REFERENCE), (false, false));
    clear(REFERENCE);
    drop_page(t, there)?;
    drop_page(t, address)
}

fn nothing(t: &mut Trial) -> Verdict {
    let (address, there, handle) = lent(t)?;
    t.same("replace", replace(handle, there, 0), (0, GNTST_OKAY));
    t.raises("gone", &try_write(there), vector::PF.into(), Some(WRITE_FAULT & !1));
    clear(REFERENCE);
    drop_page(t, address)
}

fn no_handle(t: &mut Trial) -> Verdict {
    let (other, _) = page(2, 9);
    let answer = t.unchanged("replace", || replace(1 << 20, place(1), other));
    t.same("replace", answer, (0, GNTST_BAD_HANDLE));
    drop_page(t, other)
}

fn no_table(t: &mut Trial) -> Verdict {
    let (address, there, handle) = lent(t)?;
    let answer = t.unchanged("replace", || replace(handle, there, pointers::NOTHING));
    t.same("replace", answer, (0, GNTST_GENERAL_ERROR));
    t.equal("still", word(there), 7);
    t.same("unmap", grants::unmap(handle, there), GNTST_OKAY);
    clear(REFERENCE);
    drop_page(t, address)
}

fn by_entry(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    let (address, frame) = page(0, 10);
    let (other, _) = page(2, 11);
    grants::permit(REFERENCE, own, frame, false);
    let entry = l1_for(place(1)) << 12 | (pte::index(place(1), 1) as u64) << 3;
    let mapped = grants::map_reference(own, REFERENCE, entry, GNTMAP_CONTAINS_PTE);
    t.need("map", mapped.status.into())?;
    let answer = t.unchanged("replace", || replace(mapped.handle, entry, other));
    t.same("replace", answer, (0, GNTST_GENERAL_ERROR));
    t.same("unmap", grants::unmap(mapped.handle, entry), GNTST_OKAY);
    clear(REFERENCE);
    drop_page(t, other)?;
    drop_page(t, address)
}
