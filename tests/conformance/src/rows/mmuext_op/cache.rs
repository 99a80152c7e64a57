//! `MMUEXT_FLUSH_CACHE` and `MMUEXT_FLUSH_CACHE_GLOBAL`, operations 12 and 18 of `mmuext_op` (xen/include/public/xen.h).
//!
//! Write back and empty this processor's caches, or all processors': for domains that have devices, whose memory is not
//! always coherent with the caches.
//!
//! Refused: domains without devices, by `EACCES` and by `EINVAL`.

use paravane_abi::errno::Errno;
use paravane_abi::mmu::{MMUEXT_FLUSH_CACHE, MMUEXT_FLUSH_CACHE_GLOBAL};
use pv_probe::hypercall::mmuext;

use crate::case::{Case, Row};

/// Operation 12.
pub const FLUSH_CACHE: Row = Row::operation(
    "mmuext_op",
    "flush_cache",
    &[Case::refusal("no-devices", "a domain without devices", |t| {
        t.refused("call", Errno::EACCES, || mmuext(MMUEXT_FLUSH_CACHE, 0, 0));
        t.refused("arguments", Errno::EACCES, || mmuext(MMUEXT_FLUSH_CACHE, u64::MAX, u64::MAX));
        Ok(())
    })],
);

/// Operation 18.
pub const FLUSH_CACHE_GLOBAL: Row = Row::operation(
    "mmuext_op",
    "flush_cache_global",
    &[Case::refusal("no-devices", "a domain without devices", |t| {
        t.refused("call", Errno::EINVAL, || mmuext(MMUEXT_FLUSH_CACHE_GLOBAL, 0, 0));
        t.refused("arguments", Errno::EINVAL, || mmuext(MMUEXT_FLUSH_CACHE_GLOBAL, u64::MAX, u64::MAX));
        Ok(())
    })],
);
