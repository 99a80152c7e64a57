//! `GNTTABOP_get_version` (grant_table.h, `struct gnttab_get_version`): the version of a table.
//!
//! Refused: a domain that there is not (`ESRCH`), another domain (`EPERM`, in `grants-between-domains`), a struct that cannot be read
//! (`EFAULT`).

use paravane_abi::errno::Errno;
use paravane_abi::grant::{GNTTABOP_GET_VERSION, GnttabGetVersion};
use paravane_abi::mmu::DOMID_SELF;
use pv_probe::grants;

use super::set_version::set;
use super::{one, unreadable};
use crate::case::{Case, Row, Verdict};
use crate::rows::event_channel_op::{NOBODY, own_number};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "grant_table_op",
    "get_version",
    &[
        Case::good("tells", "1 at first, then what was set", tells),
        Case::good("by-number", "oneself by number", by_number),
        Case::refusal("no-domain", "a domain that there is not", no_domain),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, GNTTABOP_GET_VERSION);
            Ok(())
        }),
    ],
);

/// Asks for the version of a domain's table: the result, and the version.
pub fn get(dom: u16) -> (i64, u32) {
    let mut request = GnttabGetVersion { dom, pad: 0, version: 77 };
    let result = one(GNTTABOP_GET_VERSION, &mut request);
    (result, request.version)
}

fn tells(t: &mut Trial) -> Verdict {
    grants::prepare();
    t.same("at-first", get(DOMID_SELF), (0, 1));
    t.need("set", set(2).0)?;
    t.same("then", get(DOMID_SELF), (0, 2));
    t.need("back", set(1).0)
}

fn by_number(t: &mut Trial) -> Verdict {
    t.same("get", get(own_number()?), (0, 1));
    Ok(())
}

fn no_domain(t: &mut Trial) -> Verdict {
    t.refused("get", Errno::ESRCH, || get(NOBODY).0);
    Ok(())
}
