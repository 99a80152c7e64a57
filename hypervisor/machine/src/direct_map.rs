//! The direct map: every frame of RAM at a fixed virtual offset, writable and never executable.
//!
//! It exists only in the hypervisor's own tables. Isolated guests (`pv-ring1`, `trap`) never run with it
//! mapped; that is what keeps ring 1, a supervisor to the paging unit, out of the hypervisor's memory.

/// Where physical address 0 appears: L4 slot 262, as in Xen.
pub const BASE: u64 = 0xffff_8300_0000_0000;

/// The virtual address of a physical one.
pub const fn virt(physical: u64) -> u64 {
    BASE + physical
}

/// A pointer to physical memory. Making it is safe; using it obeys whoever owns that memory.
pub const fn pointer<T>(physical: u64) -> *mut T {
    virt(physical) as *mut T
}

/// Where the linker put physical address 0 for the hypervisor's image: L4 slot 261.
pub const IMAGE_BASE: u64 = 0xffff_82d0_8000_0000;

/// The physical address of something in the image.
pub fn image_physical<T: ?Sized>(object: *const T) -> u64 {
    object.cast::<u8>() as u64 - IMAGE_BASE
}
