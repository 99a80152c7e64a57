//! Memory: frames, page tables, address spaces, and the kernel's own memory.

pub mod addr;
pub mod balloon;
mod boot;
mod cache;
pub mod fault;
mod fork;
pub mod frames;
pub mod heap;
pub mod place;
pub mod space;
pub mod table;
pub mod user;

use spin::Once;

use crate::cpu_ops::Roots;

pub use pv_guest_logic::{area, backing, layout};

use addr::Pfn;
pub use boot::{Boot, domain, machine};

static KERNEL_ROOT: Once<Pfn> = Once::new();

/// Names the kernel's root table.
pub fn set_kernel_root(root: Pfn) {
    KERNEL_ROOT.call_once(|| root);
}

/// The root table without a user half, which processes copy their kernel half from.
pub fn kernel_root() -> Pfn {
    *KERNEL_ROOT.get().expect("set at boot")
}

/// The roots of a CPU that runs no program.
pub fn kernel_roots() -> Roots {
    Roots { kernel: kernel_root().mfn(), user: None }
}

/// Frames on the free list.
pub fn free_frames() -> usize {
    frames::free_count()
}

/// Frames the kernel could give to processes when it started.
pub fn total_frames() -> usize {
    frames::usable_count()
}

/// Frames in the page cache.
pub fn cached_frames() -> usize {
    cache::len()
}

/// Evicts every page-cache frame that no process maps.
pub fn drop_caches() {
    cache::evict_unused();
}
