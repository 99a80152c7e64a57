//! `GNTTABOP_set_version` (grant_table.h, `struct gnttab_set_version`): the form of the table's entries, 1 or 2. A change clears all entries but
//! the first eight. The version that there is afterwards is told even by a refusal.
//!
//! Refused: other versions (`EINVAL`), while an entry past the first eight is in use (`EBUSY`), version 1 while one of the first eight
//! lends a frame whose number has more than 32 bits, or what another domain has lent (`ERANGE`), a struct that cannot be read (`EFAULT`).

use paravane_abi::errno::Errno;
use paravane_abi::grant::{
    GNTST_OKAY, GNTTABOP_SET_VERSION, GTF_PERMIT_ACCESS, GTF_TRANSITIVE, GnttabSetVersion, GrantEntryV1,
    GrantEntryV2,
};
use pv_probe::grants;

use super::{REFERENCE, clear, drop_page, one, page, place, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::rows::event_channel_op::own_number;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "grant_table_op",
    "set_version",
    &[
        Case::good("there-and-back", "to version 2, and back to 1", there_and_back),
        Case::good("same", "the version that there is changes nothing", same),
        Case::good("clears", "entries are cleared, but the first eight are kept", clears),
        Case::refusal(
            "no-version",
            "versions that there are not; the answer tells the present one",
            no_version,
        ),
        Case::refusal("in-use", "while an entry is in use", in_use),
        Case::refusal(
            "not-representable",
            "back to 1 while one of the first eight lends what version 1 cannot say",
            not_representable,
        ),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, GNTTABOP_SET_VERSION);
            Ok(())
        }),
    ],
);

/// Changes the version: the result, and the version told.
pub fn set(version: u32) -> (i64, u32) {
    let mut request = GnttabSetVersion { version };
    let result = one(GNTTABOP_SET_VERSION, &mut request);
    (result, request.version)
}

/// An entry of version 2.
pub fn entry(reference: u32) -> *mut GrantEntryV2 {
    assert!(grants::is_prepared() && reference < 256);
    (grants::TABLE + u64::from(reference) * 16) as *mut GrantEntryV2
}

fn there_and_back(t: &mut Trial) -> Verdict {
    grants::prepare();
    t.same("to-2", set(2), (0, 2));
    t.same("to-1", set(1), (0, 1));
    Ok(())
}

fn same(t: &mut Trial) -> Verdict {
    grants::prepare();
    let (address, frame) = page(0, 1);
    grants::permit(REFERENCE, 5, frame, true);
    let answer = t.unchanged("set", || set(1));
    t.same("set", answer, (0, 1));
    clear(REFERENCE);
    drop_page(t, address)
}

fn clears(t: &mut Trial) -> Verdict {
    grants::prepare();
    let (address, frame) = page(0, 1);
    let kept = grants::read(7);
    grants::permit(7, 5, frame, true);
    grants::permit(REFERENCE, 5, frame, true);
    t.same("to-2", set(2), (0, 2));
    // SAFETY: the frame is mapped, and entries of version 2 have 16 bytes.
    let (seventh, ours) = unsafe { (entry(7).read_volatile(), entry(REFERENCE).read_volatile()) };
    t.holds("kept", seventh.frame == frame && seventh.hdr.domid == 5);
    t.equal("kept.flags", (seventh.hdr.flags & 3).into(), GTF_PERMIT_ACCESS.into());
    t.same("cleared", ours, GrantEntryV2::default());
    t.same("to-1", set(1), (0, 1));
    let back = grants::read(7);
    t.holds("kept-again", u64::from(back.frame) == frame && back.domid == 5);
    t.same("cleared-again", grants::read(REFERENCE), GrantEntryV1::default());
    grants::write(7, kept);
    drop_page(t, address)
}

fn no_version(t: &mut Trial) -> Verdict {
    grants::prepare();
    for version in [0, 3, u32::MAX] {
        let (result, told) = t.unchanged("set", || set(version));
        t.fails(format_args!("set-{version}"), result, Errno::EINVAL);
        t.equal("told", told.into(), 1);
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
    let (result, told) = t.unchanged("set", || set(2));
    t.fails("set", result, Errno::EBUSY);
    t.equal("told", told.into(), 1);
    t.same("unmap", grants::unmap(mapped.handle, place(1)), GNTST_OKAY);
    clear(REFERENCE);
    drop_page(t, address)
}

fn not_representable(t: &mut Trial) -> Verdict {
    grants::prepare();
    let kept = grants::read(7);
    t.same("to-2", set(2), (0, 2));
    for (name, flags, frame) in [("far-frame", GTF_PERMIT_ACCESS, 1 << 32), ("transitive", GTF_TRANSITIVE, 0)]
    {
        let mut lent = GrantEntryV2 { frame, ..Default::default() };
        (lent.hdr.flags, lent.hdr.domid) = (flags, 5);
        // SAFETY: the frame is mapped, and entries of version 2 have 16 bytes.
        unsafe { entry(7).write_volatile(lent) };
        let (result, told) = t.unchanged(name, || set(1));
        t.fails(name, result, Errno::ERANGE);
        t.equal(format_args!("{name}.told"), told.into(), 2);
    }
    // SAFETY: as above.
    unsafe { entry(7).write_volatile(GrantEntryV2::default()) };
    t.same("to-1", set(1), (0, 1));
    grants::write(7, kept);
    Ok(())
}
