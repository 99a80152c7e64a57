//! The kernel heap: one contiguous arena set aside at boot, so that the count of free frames tells exactly what
//! processes use.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{self, NonNull};

use spin::Mutex;
use talc::{ErrOnOom, Span, Talc};

struct Heap(Mutex<Talc<ErrOnOom>>);

// SAFETY: Talc meets GlobalAlloc's contract for memory it was given by `init`, and the lock makes access exclusive.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises a layout of non-zero size.
        unsafe { self.0.lock().malloc(layout) }.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller promises that `memory` came from `alloc` with this layout, so it is not null.
        unsafe { self.0.lock().free(NonNull::new_unchecked(memory), layout) };
    }
}

#[global_allocator]
static HEAP: Heap = Heap(Mutex::new(Talc::new(ErrOnOom)));

/// Gives the heap its arena.
///
/// # Safety
/// The range is mapped writable and nothing else uses it, ever.
pub unsafe fn init(start: *mut u8, len: usize) {
    let arena = Span::from_base_size(start, len);
    // SAFETY: the caller hands the range over.
    unsafe { HEAP.0.lock().claim(arena) }.expect("the arena is large enough for the allocator's own records");
}
