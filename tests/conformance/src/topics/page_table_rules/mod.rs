//! What a page table may be, and what the processor makes of it (xen/include/public/xen.h; docs/page-types.md).
//!
//! A frame in use as a page table of a level is that and nothing else: no mapping allows writing it, and it is no table of
//! another level. Entries name frames of the domain's own and tables one level down; what they name is held as long as they
//! name it. A kernel may write the entries of an L1 as if its mapping were writable: the hypervisor checks the write and
//! performs it.

mod emulated_writes;
mod entries;
mod references;
mod types;

use crate::case::Row;

/// The topic's rows.
pub const ROWS: &[&Row] = &[&types::ROW, &entries::ROW, &references::ROW, &emulated_writes::ROW];
