//! Pages of the image that are there for their addresses: other frames are mapped over them, those that the hypervisor or
//! another domain shares with this one.

use core::cell::UnsafeCell;

use paravane_abi::pte;

use super::addr::{Mfn, PAGE};
use super::table::{KERNEL_RO, KERNEL_RW};
use crate::cpu_ops::{Refused, pv};

/// Addresses of `N` pages. Put it in the section `.bss.page`.
#[repr(C, align(4096))]
pub struct Place<const N: usize>(UnsafeCell<[[u8; PAGE as usize]; N]>);

// SAFETY: only addresses are taken of it; what is mapped there is accessed through raw pointers.
unsafe impl<const N: usize> Sync for Place<N> {}

impl<const N: usize> Place<N> {
    /// Pages with nothing of use in them.
    pub const fn new() -> Self {
        Self(UnsafeCell::new([[0; PAGE as usize]; N]))
    }

    /// The address of a page.
    pub fn page(&self, index: usize) -> u64 {
        assert!(index < N, "page {index} of {N}");
        self.0.get() as u64 + index as u64 * PAGE
    }

    /// Maps a frame there.
    pub fn map(&self, index: usize, mfn: Mfn, writable: bool) -> Result<(), Refused> {
        let flags = if writable { KERNEL_RW } else { KERNEL_RO };
        pv::update_va_mapping(self.page(index), pte::entry(mfn.0, flags))
    }

    /// Leaves nothing there.
    pub fn clear(&self, index: usize) -> Result<(), Refused> {
        pv::update_va_mapping(self.page(index), 0)
    }
}
