//! The kernel heap: one contiguous arena set aside at boot, so that the count of free frames tells exactly what
//! processes use.

use talc::TalcLock;
use talc::source::Manual;

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
