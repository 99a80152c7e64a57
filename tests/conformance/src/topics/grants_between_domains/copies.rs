//! Copies from and to what another domain lends, parts of pages and what is passed on (version 2) too.

use paravane_abi::grant::{
    GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF, GNTST_BAD_COPY_ARG, GNTST_GENERAL_ERROR, GNTST_OKAY,
    GTF_PERMIT_ACCESS, GTF_SUB_PAGE, GTF_TRANSITIVE, GrantEntryHeader, GrantEntryV2, GrantEntryV2SubPage,
    GrantEntryV2Transitive,
};
use pv_probe::grants;
use pv_probe::memory::read;

use super::{lend, take_back};
use crate::case::{Case, Role, Row, Verdict};
use crate::pair::{meet, peer, receive, send};
use crate::rows::grant_table_op::copy::{copy, frame, lent};
use crate::rows::grant_table_op::set_version::{entry, set};
use crate::rows::grant_table_op::{REFERENCE, drop_page, page, place, uses};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "grants-between-domains-copies",
    &[
        Case::good("from", "bytes from what is lent, from an offset to another", from).role(Role::Pair),
        Case::good("to", "bytes to what is lent", to).role(Role::Pair),
        Case::good("part-of-a-page", "version 2 lends a part of a page, for copies alone", part)
            .role(Role::Pair),
        Case::good("passed-on", "version 2 passes on what another lends, for copies alone", passed_on)
            .role(Role::Pair),
        Case::refusal("for-reading", "to what is lent for reading", for_reading).role(Role::Pair),
        Case::refusal("past-end", "past the end of what is lent", past_end).role(Role::Pair),
    ],
);

fn word(address: u64) -> u64 {
    // SAFETY: the cases read what they have mapped.
    unsafe { read(address) }
}

fn from(t: &mut Trial) -> Verdict {
    let (address, _) = lend(t, 0x5151, true)?;
    if !t.side().is_left() {
        let (own, number) = page(1, 0);
        let status = copy(t, lent(peer(), REFERENCE, 0), frame(number, 16), 8, GNTCOPY_SOURCE_GREF)?;
        t.same("status", status, GNTST_OKAY);
        t.same("copied", [8, 16, 24].map(|at| word(own + at)), [0, 0x5151, 0]);
        drop_page(t, own)?;
    }
    meet(t.side())?;
    if t.side().is_left() {
        t.same("not-in-use", uses(REFERENCE), (false, false));
    }
    take_back(t, address)
}

fn to(t: &mut Trial) -> Verdict {
    let (address, _) = lend(t, 0, false)?;
    if !t.side().is_left() {
        let (own, number) = page(1, 0x6161);
        let status = copy(t, frame(number, 0), lent(peer(), REFERENCE, 40), 8, GNTCOPY_DEST_GREF)?;
        t.same("status", status, GNTST_OKAY);
        drop_page(t, own)?;
    }
    meet(t.side())?;
    if t.side().is_left() {
        t.same("copied", [32, 40, 48].map(|at| word(address + at)), [0, 0x6161, 0]);
        t.same("not-in-use", uses(REFERENCE), (false, false));
    }
    take_back(t, address)
}

/// The right's table becomes one of version 2 with this entry, while the left does something.
fn with_version_2(
    t: &mut Trial,
    value: impl FnOnce(u64) -> GrantEntryV2,
    left: impl FnOnce(&mut Trial) -> Verdict,
) -> Verdict {
    grants::prepare();
    let side = t.side();
    if side.is_left() {
        receive(side)?;
        left(t)?;
        return meet(side);
    }
    let (address, number) = page(0, 0x7171);
    // SAFETY: mapped just now.
    unsafe { pv_probe::memory::write(address + 64, 0x7272) };
    t.need("version 2", set(2).0)?;
    // SAFETY: the frame is mapped, and entries of version 2 have 16 bytes.
    unsafe { entry(REFERENCE).write_volatile(value(number)) };
    send(side, 0)?;
    meet(side)?;
    t.same("version-1", set(1), (0, 1));
    drop_page(t, address)
}

fn part(t: &mut Trial) -> Verdict {
    let value = |frame: u64| {
        let hdr = GrantEntryHeader { flags: GTF_PERMIT_ACCESS | GTF_SUB_PAGE, domid: peer() };
        let part = GrantEntryV2SubPage { hdr, page_off: 64, length: 32, frame };
        GrantEntryV2 {
            hdr: part.hdr,
            pad0: u32::from(part.page_off) | u32::from(part.length) << 16,
            frame: part.frame,
        }
    };
    with_version_2(t, value, |t| {
        let (own, number) = page(1, 0);
        let try_copy = |t: &mut Trial, offset, length| {
            copy(t, lent(peer(), REFERENCE, offset), frame(number, 0), length, GNTCOPY_SOURCE_GREF)
        };
        let statuses =
            [try_copy(t, 64, 32)?, try_copy(t, 56, 8)?, try_copy(t, 88, 9)?, try_copy(t, 0, 4096)?];
        let refused = GNTST_GENERAL_ERROR;
        t.same("statuses", statuses, [GNTST_OKAY, refused, refused, refused]);
        t.equal("copied", word(own), 0x7272);
        let mapped = grants::map_reference(peer(), REFERENCE, place(2), 0);
        t.same("map", mapped.status, GNTST_GENERAL_ERROR);
        drop_page(t, own)
    })
}

fn passed_on(t: &mut Trial) -> Verdict {
    grants::prepare();
    let side = t.side();
    let mut lent_page = (0, 0);
    if side.is_left() {
        lent_page = page(0, 0x8181);
        grants::permit(REFERENCE, peer(), lent_page.1, true);
    }
    let value = |_| {
        let hdr = GrantEntryHeader { flags: GTF_TRANSITIVE, domid: peer() };
        let passed =
            GrantEntryV2Transitive { hdr, trans_domid: peer(), gref: REFERENCE, ..Default::default() };
        GrantEntryV2 { hdr, pad0: passed.trans_domid.into(), frame: passed.gref.into() }
    };
    with_version_2(t, value, |t| {
        let (own, number) = page(1, 0);
        let status = copy(t, lent(peer(), REFERENCE, 0), frame(number, 8), 8, GNTCOPY_SOURCE_GREF)?;
        t.same("status", status, GNTST_OKAY);
        t.equal("copied", word(own + 8), 0x8181);
        let mapped = grants::map_reference(peer(), REFERENCE, place(2), 0);
        t.same("map", mapped.status, GNTST_GENERAL_ERROR);
        t.same("not-in-use", uses(REFERENCE), (false, false));
        drop_page(t, own)
    })?;
    take_back(t, lent_page.0)
}

fn for_reading(t: &mut Trial) -> Verdict {
    let (address, _) = lend(t, 0, true)?;
    if !t.side().is_left() {
        let (own, number) = page(1, 1);
        let status = copy(t, frame(number, 0), lent(peer(), REFERENCE, 0), 8, GNTCOPY_DEST_GREF)?;
        t.same("status", status, GNTST_GENERAL_ERROR);
        drop_page(t, own)?;
    }
    meet(t.side())?;
    if t.side().is_left() {
        t.equal("unchanged", word(address), 0);
    }
    take_back(t, address)
}

fn past_end(t: &mut Trial) -> Verdict {
    let (address, _) = lend(t, 9, true)?;
    if !t.side().is_left() {
        let (own, number) = page(1, 0);
        let status = copy(t, lent(peer(), REFERENCE, 4095), frame(number, 0), 2, GNTCOPY_SOURCE_GREF)?;
        t.same("status", status, GNTST_BAD_COPY_ARG);
        t.equal("unchanged", word(own), 0);
        drop_page(t, own)?;
    }
    take_back(t, address)
}
