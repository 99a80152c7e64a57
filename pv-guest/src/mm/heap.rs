//! The kernel heap: one contiguous arena set aside at boot, so that the count of free frames tells exactly what
//! processes use.

use talc::TalcLock;
use talc::source::Manual;

use crate::errno::{Errno, Result};

#[global_allocator]
static HEAP: TalcLock<spin::Mutex<()>, Manual> = TalcLock::new(Manual);

/// Gives the heap its arena.
///
/// # Safety
/// The range is mapped writable and nothing else uses it, ever.
pub unsafe fn init(start: *mut u8, len: usize) {
    // SAFETY: the caller hands the range over.
    let claimed = unsafe { HEAP.lock().claim(start, len) };
    assert!(claimed.is_some(), "the arena is too small for the allocator's own records");
}

/// Refuses a program that wants more kernel memory while the heap is nearly full.
///
/// What lives as long as a program wants it to (processes, areas, files, pipes) is asked for through this; the last
/// eighth is for what the kernel needs in passing, where a failed allocation would be a panic.
pub fn reserve(bytes: usize) -> Result<()> {
    let heap = HEAP.lock();
    let counters = heap.counters();
    let keep = counters.claimed_bytes / 8;
    if counters.available_bytes >= keep + bytes { Ok(()) } else { Err(Errno::ENOMEM) }
}
