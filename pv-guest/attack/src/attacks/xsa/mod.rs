//! Xen's advisories on PV guests, a row for each (`linux-pv-boot.md`'s list). Where the flaw lies in a mechanism that is not
//! here by design, the row shows the refusal that makes it impossible.

mod tables;

use super::{Report, Row};

/// See the module.
pub const ROWS: &[Row] = tables::ROWS;
