//! Batches of hypercalls: `multicall` (`xen/xen.h`).

use crate::macros::xen_structs;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A call of a batch: 64 bytes, Xen's `struct multicall_entry`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct MulticallEntry {
    /// The call's number.
    pub op: u64,
    /// What it gave, written by the hypervisor.
    pub result: u64,
    /// Its arguments; a call uses as many as it has, at most 5.
    pub args: [u64; 6],
}

impl MulticallEntry {
    /// A call with its arguments.
    pub const fn new(op: u64, args: [u64; 6]) -> Self {
        Self { op, result: 0, args }
    }
}

xen_structs! {
    "struct multicall_entry" = MulticallEntry { op, result, args }
}
