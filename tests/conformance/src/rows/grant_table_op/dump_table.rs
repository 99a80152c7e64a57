//! `GNTTABOP_dump_table` (grant_table.h): printed a table once; it is gone from Xen (`ENOSYS`).

use paravane_abi::errno::Errno;
use paravane_abi::grant::{GNTTABOP_DUMP_TABLE, GnttabDumpTable};
use paravane_abi::mmu::DOMID_SELF;

use super::one;
use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "grant_table_op",
    "dump_table",
    &[Case::refusal("gone", "there is no such operation", gone)],
);

fn gone(t: &mut Trial) -> Verdict {
    let mut request = GnttabDumpTable { dom: DOMID_SELF, status: 77 };
    t.refused("dump", Errno::ENOSYS, || one(GNTTABOP_DUMP_TABLE, &mut request));
    t.same("untouched", request.status, 77);
    Ok(())
}
