//! `GNTTABOP_copy` (grant_table.h, `struct gnttab_copy`): copies bytes from a frame to a frame, each one's own by number or lent by reference,
//! within a page each. Entries are in use only as long as it takes.
//!
//! Statuses of refusal: past the end of a page (`GNTST_bad_copy_arg`); another domain's frame by number (`GNTST_permission_denied`); a
//! domain that there is not (`GNTST_bad_domain`); a reference past the table (`GNTST_bad_gntref`); an entry that lends nothing to the caller or
//! less than is asked, and a destination that cannot be written (`GNTST_general_error`); no frame of one's own (`GNTST_bad_page`). A list
//! that cannot be read is `EFAULT`.

use paravane_abi::grant::{
    GNTCOPY_DEST_GREF, GNTCOPY_SOURCE_GREF, GNTST_BAD_COPY_ARG, GNTST_BAD_DOMAIN, GNTST_BAD_GNTREF,
    GNTST_BAD_PAGE, GNTST_GENERAL_ERROR, GNTST_OKAY, GNTST_PERMISSION_DENIED, GNTTABOP_COPY, GnttabCopy,
    GnttabCopyPtr,
};
use paravane_abi::mmu::DOMID_SELF;
use pv_probe::hypercall::grant_operations;
use pv_probe::memory::{read, root, write};
use pv_probe::{grants, memory};

use super::{REFERENCE, clear, drop_page, one, page, unreadable, uses};
use crate::case::{Case, Row, Stop, Verdict};
use crate::rows::event_channel_op::{NOBODY, own_number};
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "grant_table_op",
    "copy",
    &[
        Case::good("whole-page", "a page from one frame of one's own to another", whole_page),
        Case::good("offsets", "bytes from an offset to another, and none beside them", offsets),
        Case::good(
            "by-reference",
            "by references on both sides, which are not in use afterwards",
            by_reference,
        ),
        Case::good("read-only", "from an entry that lends for reading", read_only),
        Case::good("nothing", "no bytes, at the end of a page", nothing),
        Case::good("list", "in a list each copy has its own status", list),
        Case::refusal("past-end", "past the end of either page", past_end),
        Case::refusal("anothers-frame", "a frame by number with another domain than oneself", anothers_frame),
        Case::refusal("no-domain", "a domain that there is not", no_domain),
        Case::refusal("past-table", "a reference past the table", past_table),
        Case::refusal("not-lent", "entries that lend nothing, or to another, or for reading alone", not_lent),
        Case::refusal("no-frame", "no frame of one's own", no_frame),
        Case::refusal("not-writable", "to a frame of page tables", not_writable),
        Case::refusal("pointers", "lists that cannot be read", |t| {
            unreadable(t, GNTTABOP_COPY);
            Ok(())
        }),
    ],
);

/// A frame of one's own, from an offset on.
#[must_use]
pub fn frame(u: u64, offset: u16) -> GnttabCopyPtr {
    GnttabCopyPtr { u, domid: DOMID_SELF, offset, pad: 0 }
}

/// What a domain lends, from an offset on.
#[must_use]
pub fn lent(domid: u16, reference: u32, offset: u16) -> GnttabCopyPtr {
    GnttabCopyPtr { u: reference.into(), domid, offset, pad: 0 }
}

/// One copy: the status.
///
/// # Errors
/// An end of the case as an error.
pub fn copy(
    t: &mut Trial,
    source: GnttabCopyPtr,
    dest: GnttabCopyPtr,
    len: u16,
    flags: u16,
) -> Result<i16, Stop> {
    let mut request = GnttabCopy { source, dest, len, flags, status: 77, pad: 0 };
    t.need("copy", one(GNTTABOP_COPY, &mut request))?;
    Ok(request.status)
}

/// Two frames of this domain's, the words of the first numbered: their addresses and numbers.
fn two() -> [(u64, u64); 2] {
    let pages = [page(0, 0), page(1, 0)];
    for index in 0..512 {
        // SAFETY: mapped just now.
        unsafe { write(pages[0].0 + index * 8, 0x0101_0101_0101_0101 * (index % 251)) };
    }
    pages
}

fn drop_both(t: &mut Trial, pages: [(u64, u64); 2]) -> Verdict {
    drop_page(t, pages[0].0)?;
    drop_page(t, pages[1].0)
}

fn word(address: u64) -> u64 {
    // SAFETY: the cases read what they have mapped.
    unsafe { read(address) }
}

fn whole_page(t: &mut Trial) -> Verdict {
    let pages = two();
    let status = copy(t, frame(pages[0].1, 0), frame(pages[1].1, 0), 4096, 0)?;
    t.same("status", status, GNTST_OKAY);
    t.holds("all", (0..512).all(|index| word(pages[1].0 + index * 8) == word(pages[0].0 + index * 8)));
    drop_both(t, pages)
}

fn offsets(t: &mut Trial) -> Verdict {
    let pages = two();
    let status = copy(t, frame(pages[0].1, 80), frame(pages[1].1, 163), 13, 0)?;
    t.same("status", status, GNTST_OKAY);
    let byte = |address: u64, at: u64| word((address + at) & !7) >> (at % 8 * 8) & 0xff;
    let good = (0..13).all(|at| byte(pages[1].0, 163 + at) == byte(pages[0].0, 80 + at));
    t.holds("copied", good);
    let beside = (0..4096).filter(|at| !(163..176).contains(at)).all(|at| byte(pages[1].0, at) == 0);
    t.holds("beside", beside);
    drop_both(t, pages)
}

fn by_reference(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    let pages = two();
    grants::permit(REFERENCE, own, pages[0].1, true);
    grants::permit(REFERENCE + 1, own, pages[1].1, false);
    let flags = GNTCOPY_SOURCE_GREF | GNTCOPY_DEST_GREF;
    let status = copy(t, lent(own, REFERENCE, 8), lent(own, REFERENCE + 1, 16), 8, flags)?;
    t.same("status", status, GNTST_OKAY);
    t.equal("copied", word(pages[1].0 + 16), word(pages[0].0 + 8));
    t.same("not-in-use", [REFERENCE, REFERENCE + 1].map(uses), [(false, false); 2]);
    // By the alias too.
    let status = copy(t, lent(DOMID_SELF, REFERENCE, 24), lent(DOMID_SELF, REFERENCE + 1, 24), 8, flags)?;
    t.same("alias", status, GNTST_OKAY);
    t.equal("copied-again", word(pages[1].0 + 24), word(pages[0].0 + 24));
    clear(REFERENCE);
    clear(REFERENCE + 1);
    drop_both(t, pages)
}

fn read_only(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    let pages = two();
    grants::permit(REFERENCE, own, pages[0].1, true);
    let status = copy(t, lent(own, REFERENCE, 32), frame(pages[1].1, 0), 8, GNTCOPY_SOURCE_GREF)?;
    t.same("status", status, GNTST_OKAY);
    t.equal("copied", word(pages[1].0), word(pages[0].0 + 32));
    clear(REFERENCE);
    drop_both(t, pages)
}

fn nothing(t: &mut Trial) -> Verdict {
    let pages = two();
    let status = copy(t, frame(pages[0].1, 4096), frame(pages[1].1, 4096), 0, 0)?;
    t.same("status", status, GNTST_OKAY);
    drop_both(t, pages)
}

fn list(t: &mut Trial) -> Verdict {
    let pages = two();
    let request = |from, len| GnttabCopy {
        source: frame(pages[0].1, from),
        dest: frame(pages[1].1, from),
        len,
        ..Default::default()
    };
    let mut requests = [request(8, 8), request(4090, 8), request(16, 8)];
    t.succeeds("copy", grant_operations(GNTTABOP_COPY, &mut requests));
    t.same("statuses", requests.map(|it| it.status), [GNTST_OKAY, GNTST_BAD_COPY_ARG, GNTST_OKAY]);
    t.holds("copied", [8, 16].iter().all(|at| word(pages[1].0 + at) == word(pages[0].0 + at)));
    drop_both(t, pages)
}

/// A copy that is refused with this status, and that changes neither frame.
fn refused(
    t: &mut Trial,
    what: &str,
    (source, dest, len, flags): (GnttabCopyPtr, GnttabCopyPtr, u16, u16),
    status: i16,
) {
    let mut request = GnttabCopy { source, dest, len, flags, status: 77, pad: 0 };
    let result = t.unchanged(what, || one(GNTTABOP_COPY, &mut request));
    t.same(what, (result, request.status), (0, status));
}

fn past_end(t: &mut Trial) -> Verdict {
    let pages = two();
    let sides = |from, to| (frame(pages[0].1, from), frame(pages[1].1, to));
    for (name, from, to, len) in
        [("source", 1, 0, 4096), ("dest", 0, 1, 4096), ("length", 0, 0, 4097), ("offset", 4097, 0, 0)]
    {
        let (source, dest) = sides(from, to);
        refused(t, name, (source, dest, len, 0), GNTST_BAD_COPY_ARG);
    }
    t.holds("untouched", (0..512).all(|index| word(pages[1].0 + index * 8) == 0));
    drop_both(t, pages)
}

fn anothers_frame(t: &mut Trial) -> Verdict {
    let own = own_number()?;
    let pages = two();
    let (source, dest) = (frame(pages[0].1, 0), frame(pages[1].1, 0));
    let named = |side: GnttabCopyPtr, domid| GnttabCopyPtr { domid, ..side };
    // Oneself by number is another.
    refused(t, "source", (named(source, own), dest, 8, 0), GNTST_PERMISSION_DENIED);
    refused(t, "dest", (source, named(dest, own), 8, 0), GNTST_PERMISSION_DENIED);
    // Whether the domain exists is looked at first.
    refused(t, "source-nobody", (named(source, NOBODY), dest, 8, 0), GNTST_BAD_DOMAIN);
    refused(t, "dest-nobody", (source, named(dest, NOBODY), 8, 0), GNTST_BAD_DOMAIN);
    drop_both(t, pages)
}

fn no_domain(t: &mut Trial) -> Verdict {
    let pages = two();
    let side = lent(NOBODY, REFERENCE, 0);
    refused(t, "source", (side, frame(pages[1].1, 0), 8, GNTCOPY_SOURCE_GREF), GNTST_BAD_DOMAIN);
    refused(t, "dest", (frame(pages[0].1, 0), side, 8, GNTCOPY_DEST_GREF), GNTST_BAD_DOMAIN);
    drop_both(t, pages)
}

fn past_table(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    let pages = two();
    let side = lent(own, 1 << 20, 0);
    refused(t, "source", (side, frame(pages[1].1, 0), 8, GNTCOPY_SOURCE_GREF), GNTST_BAD_GNTREF);
    refused(t, "dest", (frame(pages[0].1, 0), side, 8, GNTCOPY_DEST_GREF), GNTST_BAD_GNTREF);
    drop_both(t, pages)
}

fn not_lent(t: &mut Trial) -> Verdict {
    grants::prepare();
    let own = own_number()?;
    let pages = two();
    let side = lent(own, REFERENCE, 0);
    let by_source = (side, frame(pages[1].1, 0), 8, GNTCOPY_SOURCE_GREF);
    let by_dest = (frame(pages[1].1, 0), side, 8, GNTCOPY_DEST_GREF);
    clear(REFERENCE);
    refused(t, "nothing", by_source, GNTST_GENERAL_ERROR);
    grants::permit(REFERENCE, NOBODY, pages[0].1, false);
    refused(t, "to-another", by_source, GNTST_GENERAL_ERROR);
    grants::permit(REFERENCE, own, pages[0].1, true);
    refused(t, "for-reading", by_dest, GNTST_GENERAL_ERROR);
    t.same("not-in-use", uses(REFERENCE), (false, false));
    clear(REFERENCE);
    drop_both(t, pages)
}

fn no_frame(t: &mut Trial) -> Verdict {
    let pages = two();
    let none = frame(pointers::NO_FRAME, 0);
    refused(t, "source", (none, frame(pages[1].1, 0), 8, 0), GNTST_BAD_PAGE);
    refused(t, "dest", (frame(pages[0].1, 0), none, 8, 0), GNTST_BAD_PAGE);
    // The hypervisor's.
    refused(t, "low", (frame(1, 0), frame(pages[1].1, 0), 8, 0), GNTST_BAD_PAGE);
    drop_both(t, pages)
}

fn not_writable(t: &mut Trial) -> Verdict {
    let pages = two();
    refused(t, "tables", (frame(pages[0].1, 0), frame(root(), 0), 8, 0), GNTST_GENERAL_ERROR);
    // Reading them is all right.
    let status = copy(t, frame(memory::root(), 0), frame(pages[1].1, 0), 8, 0)?;
    t.same("from-tables", status, GNTST_OKAY);
    drop_both(t, pages)
}
