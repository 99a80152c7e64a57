//! The hypervisor's heap: domain records, decoder tables, device-tree results. Frames for guests and tables
//! never come from here, so that a guest cannot use it up by asking for memory.

use talc::TalcLock;
use talc::source::Claim;

/// Bytes of heap.
const SIZE: usize = 8 << 20;

/// Adds memory to the heap.
///
/// # Safety
/// The memory is mapped, writable, and nobody else's from now on.
pub unsafe fn extend(start: *mut u8, bytes: usize) {
    // SAFETY: as the caller promises.
    if unsafe { ALLOCATOR.lock().claim(start, bytes) }.is_none() {
        log::warn!("heap: {bytes} bytes are too few to add");
    }
}

static mut HEAP: [u8; SIZE] = [0; SIZE];

#[global_allocator]
static ALLOCATOR: TalcLock<spin::Mutex<()>, Claim> = TalcLock::new(
    // SAFETY: nothing else names `HEAP`, so the allocator owns it.
    unsafe { Claim::array(&raw mut HEAP) },
);
