//! `GNTTABOP_query_size` (grant_table.h, `struct gnttab_query_size`): how many frames the table has, and may have.
//!
//! Refused: another count than 1 (`EINVAL`), a struct that cannot be read (`EFAULT`). Status: a domain that there is not
//! (`GNTST_bad_domain`).

use paravane_abi::errno::Errno;
use paravane_abi::grant::{GNTST_BAD_DOMAIN, GNTST_OKAY, GNTTABOP_QUERY_SIZE, GnttabQuerySize};
use paravane_abi::mmu::DOMID_SELF;
use pv_probe::grants;

use super::{call, one, unreadable};
use crate::case::{Case, Row, Stop, Verdict};
use crate::rows::event_channel_op::{NOBODY, own_number};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "grant_table_op",
    "query_size",
    &[
        Case::good("tells", "a table has a frame and may have more", tells),
        Case::good("by-number", "oneself by number", by_number),
        Case::refusal("no-domain", "a domain that there is not", no_domain),
        Case::refusal("count", "other counts than 1", count),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, GNTTABOP_QUERY_SIZE);
            Ok(())
        }),
    ],
);

fn query(dom: u16) -> (i64, GnttabQuerySize) {
    let mut request = GnttabQuerySize { dom, status: 77, ..Default::default() };
    let result = one(GNTTABOP_QUERY_SIZE, &mut request);
    (result, request)
}

/// The size of this domain's table.
///
/// # Errors
/// An end of the case as an error.
pub fn size() -> Result<GnttabQuerySize, Stop> {
    match query(DOMID_SELF) {
        (0, size) => Ok(size),
        (error, _) => Err(Stop::Error("the table's size", error)),
    }
}

fn tells(t: &mut Trial) -> Verdict {
    grants::prepare();
    let (result, size) = query(DOMID_SELF);
    t.same("query", (result, size.status), (0, GNTST_OKAY));
    t.holds("has", size.nr_frames >= 1);
    t.equal("may-have", size.max_nr_frames.into(), 64);
    Ok(())
}

fn by_number(t: &mut Trial) -> Verdict {
    let (result, size) = query(own_number()?);
    t.same("query", (result, size.status), (0, GNTST_OKAY));
    Ok(())
}

fn no_domain(t: &mut Trial) -> Verdict {
    let (result, size) = t.unchanged("query", || query(NOBODY));
    t.same("query", (result, size.status), (0, GNTST_BAD_DOMAIN));
    Ok(())
}

fn count(t: &mut Trial) -> Verdict {
    let requests = [GnttabQuerySize { dom: DOMID_SELF, ..Default::default() }; 2];
    for count in [0, 2] {
        let address = requests.as_ptr() as u64;
        t.refused(format_args!("count-{count}"), Errno::EINVAL, || call(GNTTABOP_QUERY_SIZE, address, count));
    }
    Ok(())
}
