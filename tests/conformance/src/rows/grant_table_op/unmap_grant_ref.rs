//! `GNTTABOP_unmap_grant_ref` (grant_table.h, `struct gnttab_unmap_grant_ref`): takes a mapping away, by its handle and the address it was
//! made at; 0 for either address leaves that half of it.
//!
//! Statuses of refusal: a handle that there is not (`GNTST_bad_handle`); an address where something else is mapped
//! (`GNTST_general_error`); another frame's address for devices (`GNTST_bad_dev_addr`). A list that cannot be read is `EFAULT`.

use paravane_abi::grant::{
    GNTMAP_DEVICE_MAP, GNTST_BAD_DEV_ADDR, GNTST_BAD_HANDLE, GNTST_GENERAL_ERROR, GNTST_OKAY,
    GNTTABOP_UNMAP_GRANT_REF, GnttabUnmapGrantRef,
};
use paravane_abi::trap::vector;
use pv_probe::guard::RETURNED;
use pv_probe::{grants, memory};

use super::map_grant_ref::{WRITE_FAULT, try_write};
use super::{REFERENCE, clear, drop_page, one, page, place, unreadable, uses};
use crate::case::{Case, Row, Verdict};
use crate::rows::event_channel_op::own_number;
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "grant_table_op",
    "unmap_grant_ref",
    &[
        Case::good("unmaps", "nothing is there afterwards, and the frame is the lender's alone", unmaps),
        Case::good("nothing-asked", "without addresses nothing is done", nothing_asked),
        Case::good("halves", "the processors' half and the devices' half, one by one", halves),
        Case::refusal("no-handle", "handles that there are not, or not any more", no_handle),
        Case::refusal("other-place", "an address where another page is mapped", other_place),
        Case::refusal("no-table", "an address without a page table", no_table),
        Case::refusal("device-address", "another frame's address for devices", device_address),
        Case::refusal("pointers", "lists that cannot be read", |t| {
            unreadable(t, GNTTABOP_UNMAP_GRANT_REF);
            Ok(())
        }),
    ],
);

fn unmap(handle: u32, host_addr: u64, dev_bus_addr: u64) -> (i64, i16) {
    let mut request = GnttabUnmapGrantRef { host_addr, dev_bus_addr, handle, ..Default::default() };
    let result = one(GNTTABOP_UNMAP_GRANT_REF, &mut request);
    (result, request.status)
}

/// A frame of this domain's, lent to itself and mapped with these flags: its own address, the mapping's, its number and the handle.
fn lent(t: &mut Trial, flags: u32) -> Result<(u64, u64, u64, u32), crate::case::Stop> {
    grants::prepare();
    let own = own_number()?;
    let (address, frame) = page(0, 5);
    grants::permit(REFERENCE, own, frame, false);
    let there = place(1);
    let mapped = grants::map_reference(own, REFERENCE, there, flags);
    t.need("map", mapped.status.into())?;
    Ok((address, there, frame, mapped.handle))
}

fn unmaps(t: &mut Trial) -> Verdict {
    let (address, there, frame, handle) = lent(t, 0)?;
    // So that the processor knows the page, and has to forget it.
    t.equal("there", try_write(there).vector, RETURNED);
    t.same("unmap", unmap(handle, there, 0), (0, GNTST_OKAY));
    t.raises("gone", &try_write(there), vector::PF.into(), Some(WRITE_FAULT & !1));
    t.same("not-in-use", uses(REFERENCE), (false, false));
    clear(REFERENCE);
    drop_page(t, address)?;
    // Nobody has it mapped for writing any more, so it can be a page table.
    let (pin, unpin) = (paravane_abi::mmu::MMUEXT_PIN_L1_TABLE, paravane_abi::mmu::MMUEXT_UNPIN_TABLE);
    t.need("map", pv_probe::hypercall::map(address, frame << 12 | memory::DATA))?;
    for index in 0..512 {
        // SAFETY: mapped just now.
        unsafe { memory::write(address + index * 8, 0) };
    }
    drop_page(t, address)?;
    t.succeeds("page-table", pv_probe::hypercall::mmuext(pin, frame, 0));
    t.need("unpin", pv_probe::hypercall::mmuext(unpin, frame, 0))
}

fn nothing_asked(t: &mut Trial) -> Verdict {
    let (address, there, _, handle) = lent(t, 0)?;
    t.same("unmap", unmap(handle, 0, 0), (0, GNTST_OKAY));
    t.same("in-use", uses(REFERENCE), (true, true));
    t.equal("there", try_write(there).vector, RETURNED);
    t.same("really", unmap(handle, there, 0), (0, GNTST_OKAY));
    clear(REFERENCE);
    drop_page(t, address)
}

fn halves(t: &mut Trial) -> Verdict {
    let (address, there, frame, handle) = lent(t, GNTMAP_DEVICE_MAP)?;
    t.same("processors", unmap(handle, there, 0), (0, GNTST_OKAY));
    t.same("in-use", uses(REFERENCE), (true, true));
    t.same("devices", unmap(handle, 0, frame << 12), (0, GNTST_OKAY));
    t.same("not-in-use", uses(REFERENCE), (false, false));
    t.same("again", unmap(handle, 0, frame << 12).1, GNTST_BAD_HANDLE);
    clear(REFERENCE);
    drop_page(t, address)
}

fn no_handle(t: &mut Trial) -> Verdict {
    let (address, there, _, handle) = lent(t, 0)?;
    for (name, other) in [("far", 1 << 20), ("all-ones", u32::MAX)] {
        let answer = t.unchanged(name, || unmap(other, there, 0));
        t.same(name, answer, (0, GNTST_BAD_HANDLE));
    }
    t.same("unmap", unmap(handle, there, 0), (0, GNTST_OKAY));
    t.same("again", unmap(handle, there, 0), (0, GNTST_BAD_HANDLE));
    clear(REFERENCE);
    drop_page(t, address)
}

fn other_place(t: &mut Trial) -> Verdict {
    let (address, there, _, handle) = lent(t, 0)?;
    let (other, _) = page(2, 6);
    let answer = t.unchanged("unmap", || unmap(handle, other, 0));
    t.same("unmap", answer, (0, GNTST_GENERAL_ERROR));
    t.equal("other-there", try_write(other).vector, RETURNED);
    t.same("in-use", uses(REFERENCE), (true, true));
    t.same("really", unmap(handle, there, 0), (0, GNTST_OKAY));
    clear(REFERENCE);
    drop_page(t, other)?;
    drop_page(t, address)
}

fn no_table(t: &mut Trial) -> Verdict {
    let (address, there, _, handle) = lent(t, 0)?;
    for (name, other) in [("nothing", pointers::NOTHING), ("empty", place(3))] {
        let answer = t.unchanged(name, || unmap(handle, other, 0));
        t.same(name, answer, (0, GNTST_GENERAL_ERROR));
    }
    t.same("really", unmap(handle, there, 0), (0, GNTST_OKAY));
    clear(REFERENCE);
    drop_page(t, address)
}

fn device_address(t: &mut Trial) -> Verdict {
    let (address, there, frame, handle) = lent(t, GNTMAP_DEVICE_MAP)?;
    let answer = t.unchanged("unmap", || unmap(handle, there, (frame << 12) + 0x1000));
    t.same("unmap", answer, (0, GNTST_BAD_DEV_ADDR));
    t.same("really", unmap(handle, there, frame << 12), (0, GNTST_OKAY));
    clear(REFERENCE);
    drop_page(t, address)
}
