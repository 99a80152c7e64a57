//! What is seen of a page when its entry has changed: after each flush, on the vcpu that asked for it and on another.
//!
//! The entries of L1 tables are the guest's to flush (xen/include/public/xen.h, `UVMF_*` and `MMUEXT_*`). Entries further up
//! are not: when `mmu_update` has changed one, no vcpu sees what was there before. And no page becomes a page table while a
//! vcpu may still write it by a mapping that is gone.

mod others;
mod own;
mod watch;

use crate::case::Row;

/// The topic's rows.
pub const ROWS: &[&Row] = &[&own::ROW, &others::ROW];
