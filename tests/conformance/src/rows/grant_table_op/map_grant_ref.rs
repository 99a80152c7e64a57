//! `GNTTABOP_map_grant_ref` (grant_table.h, `struct gnttab_map_grant_ref`): maps what an entry lends, at an address or in a given
//! page-table entry (`GNTMAP_contains_pte`), or for devices, or both. The answer has a handle to unmap by and the frame's address. The entry
//! says that it is in use, for reading or for writing too.
//!
//! Statuses of refusal: nothing asked, and a reference past the table (`GNTST_bad_gntref`); a domain that there is not, and an alias for
//! one (`GNTST_bad_domain`); an entry that lends nothing, not to the caller, or less than is asked, and a place that cannot be mapped
//! at (`GNTST_general_error`); an entry that names no frame of the lender's (`GNTST_bad_page`). A list that cannot be read is `EFAULT`.

use paravane_abi::grant::{
    GNTMAP_CONTAINS_PTE, GNTMAP_DEVICE_MAP, GNTMAP_HOST_MAP, GNTMAP_READONLY, GNTST_BAD_DOMAIN,
    GNTST_BAD_GNTREF, GNTST_BAD_PAGE, GNTST_GENERAL_ERROR, GNTST_OKAY, GNTTABOP_MAP_GRANT_REF,
    GTF_ACCEPT_TRANSFER, GnttabMapGrantRef, GnttabUnmapGrantRef, GrantEntryV1,
};
use paravane_abi::mmu::DOMID_SELF;
use paravane_abi::pte;
use paravane_abi::trap::vector;
use pv_probe::grants;
use pv_probe::guard::{Caught, guarded};
use pv_probe::hypercall::grant_operations;
use pv_probe::memory::{l1_for, read, write};

use super::{REFERENCE, clear, drop_page, one, page, place, unreadable, uses};
use crate::case::{Case, Row, Verdict};
use crate::rows::event_channel_op::{NOBODY, own_number};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "grant_table_op",
    "map_grant_ref",
    &[
        Case::good("writable", "a frame for reading and writing", writable),
        Case::good("read-only", "a frame for reading: writing there is a page fault", read_only),
        Case::good("twice", "one entry at two places, in use until both are unmapped", twice),
        Case::good("more-later", "first for reading, then for writing", more_later),
        Case::good("for-devices", "for devices alone, nothing is mapped", for_devices),
        Case::good("by-entry", "in a page-table entry that the caller names", by_entry),
        Case::good("list", "in a list each request has its own status", list),
        Case::refusal("nothing-asked", "neither for processors nor for devices", nothing_asked),
        Case::refusal("no-domain", "domains that there are not, and oneself by the alias", no_domain),
        Case::refusal("past-table", "references past the table", past_table),
        Case::refusal("not-lent", "entries that lend nothing, or otherwise, or to another", not_lent),
        Case::refusal("more-than-lent", "writing, where reading is lent", more_than_lent),
        Case::refusal(
            "no-table",
            "an address without a page table; the entry is not in use afterwards",
            no_table,
        ),
        Case::refusal("no-frame", "an entry that names no frame", no_frame),
        Case::refusal("no-entry", "places that are no page-table entries", no_entry),
        Case::refusal("pointers", "lists that cannot be read", |t| {
            unreadable(t, GNTTABOP_MAP_GRANT_REF);
            Ok(())
        }),
    ],
);

extern "C" fn store(address: u64) -> u64 {
    // SAFETY: what comes of it is caught; the cases give addresses of their own.
    unsafe { write(address, 99) };
    0
}

/// Writes at an address: what comes of it.
pub fn try_write(address: u64) -> Caught {
    // SAFETY: as the function says.
    unsafe { guarded(store as *const () as u64, address) }
}

/// The error code of a page fault by this kernel's write to a page that is there. That Xen's kernels run in ring 3 does not show.
pub const WRITE_FAULT: u64 = 3;

fn word(address: u64) -> u64 {
    // SAFETY: the cases read what they have mapped.
    unsafe { read(address) }
}

fn writable(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    let (address, frame) = page(0, 11);
    grants::permit(REFERENCE, own, frame, false);
    let there = place(1);
    let mapped = grants::map_reference(own, REFERENCE, there, 0);
    t.same("status", mapped.status, GNTST_OKAY);
    t.holds("frame", mapped.dev_bus_addr == frame << 12);
    t.equal("read", word(there), 11);
    // SAFETY: mapped for writing.
    unsafe { write(there + 8, 12) };
    t.equal("written", word(address + 8), 12);
    t.same("in-use", uses(REFERENCE), (true, true));
    t.same("unmap", grants::unmap(mapped.handle, there), GNTST_OKAY);
    t.same("not-in-use", uses(REFERENCE), (false, false));
    clear(REFERENCE);
    drop_page(t, address)
}

fn read_only(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    let (address, frame) = page(0, 13);
    grants::permit(REFERENCE, own, frame, true);
    let there = place(1);
    let mapped = grants::map_reference(own, REFERENCE, there, GNTMAP_READONLY);
    t.same("status", mapped.status, GNTST_OKAY);
    t.equal("read", word(there), 13);
    t.raises("write", &try_write(there), vector::PF.into(), Some(WRITE_FAULT));
    t.equal("unchanged", word(address), 13);
    t.same("in-use", uses(REFERENCE), (true, false));
    t.same("unmap", grants::unmap(mapped.handle, there), GNTST_OKAY);
    t.same("not-in-use", uses(REFERENCE), (false, false));
    clear(REFERENCE);
    drop_page(t, address)
}

fn twice(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    let (address, frame) = page(0, 14);
    grants::permit(REFERENCE, own, frame, false);
    let places = [place(1), place(2)];
    let mapped = places.map(|place| grants::map_reference(own, REFERENCE, place, 0));
    t.same("status", mapped.map(|it| it.status), [GNTST_OKAY; 2]);
    t.holds("handles", mapped[0].handle != mapped[1].handle);
    t.same("read", places.map(word), [14, 14]);
    t.same("unmap-one", grants::unmap(mapped[0].handle, places[0]), GNTST_OKAY);
    t.same("still-in-use", uses(REFERENCE), (true, true));
    t.same("unmap-other", grants::unmap(mapped[1].handle, places[1]), GNTST_OKAY);
    t.same("not-in-use", uses(REFERENCE), (false, false));
    clear(REFERENCE);
    drop_page(t, address)
}

fn more_later(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    let (address, frame) = page(0, 15);
    grants::permit(REFERENCE, own, frame, false);
    let (reads, writes) = (place(1), place(2));
    let reader = grants::map_reference(own, REFERENCE, reads, GNTMAP_READONLY);
    t.same("reading", (reader.status, uses(REFERENCE)), (GNTST_OKAY, (true, false)));
    let writer = grants::map_reference(own, REFERENCE, writes, 0);
    t.same("writing", (writer.status, uses(REFERENCE)), (GNTST_OKAY, (true, true)));
    t.same("unmap-writer", grants::unmap(writer.handle, writes), GNTST_OKAY);
    t.same("reading-again", uses(REFERENCE), (true, false));
    t.same("unmap-reader", grants::unmap(reader.handle, reads), GNTST_OKAY);
    t.same("not-in-use", uses(REFERENCE), (false, false));
    clear(REFERENCE);
    drop_page(t, address)
}

fn for_devices(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    let (address, frame) = page(0, 16);
    grants::permit(REFERENCE, own, frame, false);
    let mut request =
        GnttabMapGrantRef { flags: GNTMAP_DEVICE_MAP, reference: REFERENCE, dom: own, ..Default::default() };
    t.succeeds("map", one(GNTTABOP_MAP_GRANT_REF, &mut request));
    t.same("status", request.status, GNTST_OKAY);
    t.holds("frame", request.dev_bus_addr == frame << 12);
    t.same("in-use", uses(REFERENCE), (true, true));
    let mut undo = GnttabUnmapGrantRef {
        dev_bus_addr: request.dev_bus_addr,
        handle: request.handle,
        ..Default::default()
    };
    t.succeeds("unmap", one(paravane_abi::grant::GNTTABOP_UNMAP_GRANT_REF, &mut undo));
    t.same("unmap-status", undo.status, GNTST_OKAY);
    t.same("not-in-use", uses(REFERENCE), (false, false));
    clear(REFERENCE);
    drop_page(t, address)
}

fn by_entry(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    let (address, frame) = page(0, 17);
    grants::permit(REFERENCE, own, frame, false);
    let there = place(1);
    let entry = l1_for(there) << 12 | (pte::index(there, 1) as u64) << 3;
    let mapped = grants::map_reference(own, REFERENCE, entry, GNTMAP_CONTAINS_PTE);
    t.same("status", mapped.status, GNTST_OKAY);
    t.equal("read", word(there), 17);
    t.same("in-use", uses(REFERENCE), (true, true));
    t.same("unmap", grants::unmap(mapped.handle, entry), GNTST_OKAY);
    t.raises("gone", &try_write(there), vector::PF.into(), Some(WRITE_FAULT & !1));
    clear(REFERENCE);
    drop_page(t, address)
}

fn list(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    let (address, frame) = page(0, 18);
    grants::permit(REFERENCE, own, frame, false);
    let request = |reference, host_addr| GnttabMapGrantRef {
        host_addr,
        flags: GNTMAP_HOST_MAP,
        reference,
        dom: own,
        ..Default::default()
    };
    let mut requests =
        [request(REFERENCE, place(1)), request(u32::MAX, place(2)), request(REFERENCE, place(3))];
    t.succeeds("map", grant_operations(GNTTABOP_MAP_GRANT_REF, &mut requests));
    t.same("statuses", requests.map(|it| it.status), [GNTST_OKAY, GNTST_BAD_GNTREF, GNTST_OKAY]);
    t.same("read", [place(1), place(3)].map(word), [18, 18]);
    for index in [0, 2] {
        t.same("unmap", grants::unmap(requests[index].handle, requests[index].host_addr), GNTST_OKAY);
    }
    clear(REFERENCE);
    drop_page(t, address)
}

/// A request that is refused with this status, and that changes nothing.
fn refused(t: &mut Trial, what: &str, mut request: GnttabMapGrantRef, status: i16) {
    let result = t.unchanged(what, || one(GNTTABOP_MAP_GRANT_REF, &mut request));
    t.same(what, (result, request.status), (0, status));
}

fn asking(dom: u16, reference: u32, host_addr: u64, flags: u32) -> GnttabMapGrantRef {
    GnttabMapGrantRef { host_addr, flags: GNTMAP_HOST_MAP | flags, reference, dom, ..Default::default() }
}

fn nothing_asked(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    for (name, flags) in [("none", 0), ("read-only", GNTMAP_READONLY)] {
        let request = GnttabMapGrantRef { flags, ..asking(own, REFERENCE, place(1), 0) };
        refused(t, name, request, GNTST_BAD_GNTREF);
    }
    // Before the domain is looked at.
    refused(t, "no-domain", GnttabMapGrantRef { dom: NOBODY, ..Default::default() }, GNTST_BAD_GNTREF);
    Ok(())
}

fn no_domain(t: &mut Trial) -> Verdict {
    grants::prepare();
    for (name, dom) in [("nobody", NOBODY), ("self", DOMID_SELF)] {
        refused(t, name, asking(dom, REFERENCE, place(1), 0), GNTST_BAD_DOMAIN);
    }
    Ok(())
}

fn past_table(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    for (name, reference) in [("far", 1 << 20), ("all-ones", u32::MAX)] {
        refused(t, name, asking(own, reference, place(1), 0), GNTST_BAD_GNTREF);
    }
    Ok(())
}

fn not_lent(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    let (address, frame) = page(0, 19);
    clear(REFERENCE);
    refused(t, "nothing", asking(own, REFERENCE, place(1), 0), GNTST_GENERAL_ERROR);
    grants::permit(REFERENCE, NOBODY, frame, false);
    refused(t, "to-another", asking(own, REFERENCE, place(1), 0), GNTST_GENERAL_ERROR);
    grants::write(REFERENCE, GrantEntryV1 { flags: GTF_ACCEPT_TRANSFER, domid: own, frame: frame as u32 });
    refused(t, "transfer", asking(own, REFERENCE, place(1), 0), GNTST_GENERAL_ERROR);
    clear(REFERENCE);
    drop_page(t, address)
}

fn more_than_lent(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    let (address, frame) = page(0, 20);
    grants::permit(REFERENCE, own, frame, true);
    refused(t, "write", asking(own, REFERENCE, place(1), 0), GNTST_GENERAL_ERROR);
    let reader = grants::map_reference(own, REFERENCE, place(1), GNTMAP_READONLY);
    refused(t, "write-while-read", asking(own, REFERENCE, place(2), 0), GNTST_GENERAL_ERROR);
    t.same("unmap", grants::unmap(reader.handle, place(1)), GNTST_OKAY);
    clear(REFERENCE);
    drop_page(t, address)
}

fn no_table(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    let (address, frame) = page(0, 21);
    grants::permit(REFERENCE, own, frame, false);
    for (name, there) in [("nothing", pointers::NOTHING), ("hypervisor", pointers::HYPERVISOR)] {
        refused(t, name, asking(own, REFERENCE, there, 0), GNTST_GENERAL_ERROR);
        t.same("not-in-use", uses(REFERENCE), (false, false));
    }
    clear(REFERENCE);
    drop_page(t, address)
}

fn no_frame(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    grants::permit(REFERENCE, own, 0xffff_fff0, false);
    refused(t, "map", asking(own, REFERENCE, place(1), 0), GNTST_BAD_PAGE);
    t.same("not-in-use", uses(REFERENCE), (false, false));
    clear(REFERENCE);
    Ok(())
}

fn no_entry(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    let (address, frame) = page(0, 22);
    grants::permit(REFERENCE, own, frame, false);
    let table = l1_for(place(1)) << 12;
    let entries = [("unaligned", table + 4), ("data", frame << 12), ("no-frame", pointers::NO_FRAME << 12)];
    for (name, entry) in entries {
        refused(t, name, asking(own, REFERENCE, entry, GNTMAP_CONTAINS_PTE), GNTST_GENERAL_ERROR);
    }
    t.same("not-in-use", uses(REFERENCE), (false, false));
    clear(REFERENCE);
    drop_page(t, address)
}
