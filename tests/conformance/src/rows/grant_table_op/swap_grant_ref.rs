//! `GNTTABOP_swap_grant_ref` (grant_table.h, `struct gnttab_swap_grant_ref`): swaps two entries of the caller's table that are not in use.
//!
//! Statuses of refusal: references past the table (`GNTST_bad_gntref`), an entry that is in use (`GNTST_eagain`). A list that cannot be read is
//! `EFAULT`.

use paravane_abi::grant::{
    GNTST_BAD_GNTREF, GNTST_EAGAIN, GNTST_OKAY, GNTTABOP_SWAP_GRANT_REF, GnttabSwapGrantRef,
};
use pv_probe::grants;

use super::{REFERENCE, clear, drop_page, one, page, place, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::rows::event_channel_op::own_number;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "grant_table_op",
    "swap_grant_ref",
    &[
        Case::good("swaps", "two entries change places", swaps),
        Case::good("same", "an entry with itself", same),
        Case::refusal("past-table", "references past the table", past_table),
        Case::refusal("in-use", "either entry is in use", in_use),
        Case::refusal("pointers", "lists that cannot be read", |t| {
            unreadable(t, GNTTABOP_SWAP_GRANT_REF);
            Ok(())
        }),
    ],
);

fn swap(ref_a: u32, ref_b: u32) -> (i64, i16) {
    let mut request = GnttabSwapGrantRef { ref_a, ref_b, status: 77, pad: 0 };
    let result = one(GNTTABOP_SWAP_GRANT_REF, &mut request);
    (result, request.status)
}

fn swaps(t: &mut Trial) -> Verdict {
    grants::prepare();
    let (address, frame) = page(0, 1);
    grants::permit(REFERENCE, 3, frame, true);
    grants::permit(REFERENCE + 1, 4, frame, false);
    let before = [REFERENCE, REFERENCE + 1].map(grants::read);
    t.same("swap", swap(REFERENCE, REFERENCE + 1), (0, GNTST_OKAY));
    t.holds("swapped", [REFERENCE + 1, REFERENCE].map(grants::read) == before);
    clear(REFERENCE);
    clear(REFERENCE + 1);
    drop_page(t, address)
}

fn same(t: &mut Trial) -> Verdict {
    grants::prepare();
    let answer = t.unchanged("swap", || swap(REFERENCE, REFERENCE));
    t.same("swap", answer, (0, GNTST_OKAY));
    Ok(())
}

fn past_table(t: &mut Trial) -> Verdict {
    grants::prepare();
    for (name, a, b) in
        [("first", 1 << 20, REFERENCE), ("second", REFERENCE, u32::MAX), ("both", u32::MAX, u32::MAX)]
    {
        let answer = t.unchanged(name, || swap(a, b));
        t.same(name, answer, (0, GNTST_BAD_GNTREF));
    }
    Ok(())
}

fn in_use(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    let (address, frame) = page(0, 1);
    grants::permit(REFERENCE, own, frame, false);
    let mapped = grants::map_reference(own, REFERENCE, place(1), 0);
    t.need("map", mapped.status.into())?;
    for (name, a, b) in [("first", REFERENCE, REFERENCE + 1), ("second", REFERENCE + 1, REFERENCE)] {
        let answer = t.unchanged(name, || swap(a, b));
        t.same(name, answer, (0, GNTST_EAGAIN));
    }
    t.same("unmap", grants::unmap(mapped.handle, place(1)), GNTST_OKAY);
    clear(REFERENCE);
    drop_page(t, address)
}
