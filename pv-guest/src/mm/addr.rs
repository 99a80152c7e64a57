//! Frame numbers and where frames appear in the kernel's address space.
//!
//! A pfn counts this guest's memory from 0; an mfn is the machine's number for the same frame. Page-table entries hold
//! mfns, so every walk goes through the M2P and every new entry through the P2M.

use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use paravane_abi::{pte, ring1};

pub use super::layout::{PAGE, USER_END, page_down, page_up};

/// Where frame 0 appears in the kernel's direct map: L4 slot 272, the first above the hypervisor's range.
pub const DIRECT_BASE: u64 = 0xffff_8800_0000_0000;
/// The direct map's L4 slot.
pub const DIRECT_SLOT: usize = pte::index(DIRECT_BASE, 4);

/// A guest pseudo-physical frame number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pfn(pub u64);

/// A machine frame number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mfn(pub u64);

static P2M: AtomicPtr<u64> = AtomicPtr::new(ptr::null_mut());
/// The machine-to-physical table.
static M2P: AtomicPtr<u64> = AtomicPtr::new(ring1::M2P_VIRT_START as *mut u64);
static NR_PAGES: AtomicU64 = AtomicU64::new(0);

/// Names the P2M list.
///
/// # Safety
/// `list` is readable for `nr_pages` entries, holds this domain's mfns, and is written by [`set_mfn`] alone.
pub unsafe fn set_p2m(list: *mut u64, nr_pages: u64) {
    NR_PAGES.store(nr_pages, Ordering::Relaxed);
    P2M.store(list, Ordering::Relaxed);
}

/// Names the list, where every frame's two numbers are the same, as the table for both ways.
///
/// # Safety
/// As for [`set_p2m`], and page tables name no frame past the list.
pub unsafe fn set_identity(list: *mut u64, nr_pages: u64) {
    // SAFETY: the caller vouches for the list.
    unsafe { set_p2m(list, nr_pages) };
    M2P.store(list, Ordering::Relaxed);
}

/// Marks an entry of the P2M without a frame (`INVALID_P2M_ENTRY`).
const NO_MFN: u64 = u64::MAX;

/// Sets the machine's number for a frame of this guest's; `None` for one it has given away.
pub fn set_mfn(pfn: Pfn, mfn: Option<Mfn>) {
    assert!(pfn.0 < nr_pages(), "pfn {:#x} is not ours", pfn.0);
    let value = mfn.map_or(NO_MFN, |mfn| mfn.0);
    // SAFETY: `set_p2m` vouched for `nr_pages` entries; the direct map maps the list writable, and the kernel lock keeps
    // readers away.
    unsafe { P2M.load(Ordering::Relaxed).add(pfn.0 as usize).write(value) };
}

/// The number of frames this guest has.
pub fn nr_pages() -> u64 {
    NR_PAGES.load(Ordering::Relaxed)
}

impl Pfn {
    /// The machine's number for this frame.
    pub fn mfn(self) -> Mfn {
        assert!(self.0 < nr_pages(), "pfn {:#x} is not ours", self.0);
        // SAFETY: `set_p2m` vouched for `nr_pages` entries, and the index is below that.
        Mfn(unsafe { P2M.load(Ordering::Relaxed).add(self.0 as usize).read() })
    }

    /// The frame's address in the direct map.
    pub fn direct(self) -> u64 {
        DIRECT_BASE + self.0 * PAGE
    }

    /// The frame's bytes in the direct map.
    pub fn bytes(self) -> *mut u8 {
        self.direct() as *mut u8
    }
}

impl Mfn {
    /// The guest's number for this frame, if it is this guest's.
    pub fn pfn(self) -> Option<Pfn> {
        let entry = M2P.load(Ordering::Relaxed);
        // SAFETY: the M2P is mapped for every frame that a page-table entry of this guest can name.
        let pfn = Pfn(unsafe { entry.add(self.0 as usize).read_volatile() });
        (pfn.0 < nr_pages() && pfn.mfn() == self).then_some(pfn)
    }

    /// The machine address of the frame.
    pub fn address(self) -> u64 {
        self.0 * PAGE
    }
}
