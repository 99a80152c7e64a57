//! Xen's advisories on PV guests, a row for each. Where the flaw lies in a mechanism that is not here by design, the row
//! shows the refusal that makes it impossible.

mod calls;
mod events;
mod frames;
mod grants;
mod tables;

use super::{Report, Row};

/// See the module.
pub const TABLES: [&[Row]; 5] = [tables::ROWS, frames::ROWS, grants::ROWS, events::ROWS, calls::ROWS];
