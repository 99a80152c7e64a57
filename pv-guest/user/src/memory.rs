//! The heap: power-of-two size classes over `brk`. Freed blocks return to their class; the break only grows.

use crate::sys;
use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::null_mut;

/// Smallest block, and the break's alignment.
const MIN_SHIFT: usize = 4;
/// Classes from 16 bytes to 2 GiB.
const CLASSES: usize = 28;
/// The break moves in steps of this many bytes, to spare system calls.
const STEP: usize = 0x4000;

struct State {
    /// Heads of the lists of free blocks; a free block's first word is the next one.
    free: [*mut u8; CLASSES],
    next: usize,
    end: usize,
}

/// A program's heap, for its first thread: others must not allocate.
pub struct Heap(UnsafeCell<State>);

// SAFETY: only a program's first thread allocates, and no signal handler does.
unsafe impl Sync for Heap {}

impl Heap {
    /// An empty heap; the first allocation asks where the break is.
    #[expect(clippy::new_without_default, reason = "made once, in a static")]
    pub const fn new() -> Heap {
        Heap(UnsafeCell::new(State { free: [null_mut(); CLASSES], next: 0, end: 0 }))
    }
}

/// The class of a layout: blocks of `1 << (class + MIN_SHIFT)` bytes, aligned to their size or a page.
fn class(layout: Layout) -> usize {
    let size = layout.size().max(layout.align()).max(1 << MIN_SHIFT);
    size.next_power_of_two().trailing_zeros() as usize - MIN_SHIFT
}

impl State {
    fn grow(&mut self, size: usize) -> *mut u8 {
        if self.end == 0 {
            // SAFETY: asking moves nothing.
            self.next = unsafe { sys::brk(0) };
            self.end = self.next;
        }
        // Blocks of a page or more need no more than page alignment.
        let at = self.next.next_multiple_of(size.min(4096));
        let Some(top) = at.checked_add(size) else { return null_mut() };
        if top > self.end {
            let end = top.next_multiple_of(STEP);
            // SAFETY: this is the allocator, and the break moves up.
            if unsafe { sys::brk(end) } < end {
                return null_mut();
            }
            self.end = end;
        }
        self.next = top;
        at as *mut u8
    }
}

// SAFETY: blocks come from the break or from a list of freed blocks of their class, so live blocks are
// disjoint; a block is at least as large and as aligned as its class says (alignments above a page are refused).
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let class = class(layout);
        if class >= CLASSES || layout.align() > 4096 {
            return null_mut();
        }
        // SAFETY: one thread allocates, and no reference to the state outlives a call.
        let state = unsafe { &mut *self.0.get() };
        let head = state.free[class];
        if head.is_null() {
            return state.grow(1 << (class + MIN_SHIFT));
        }
        // SAFETY: a block on the list is free and its first word links to the next.
        state.free[class] = unsafe { *head.cast::<*mut u8>() };
        head
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let class = class(layout);
        // SAFETY: one thread allocates; the block was allocated from this class and its owner gave it up.
        unsafe {
            let state = &mut *self.0.get();
            *block.cast::<*mut u8>() = state.free[class];
            state.free[class] = block;
        }
    }
}

/// The number of free frames, from `/proc/meminfo`. Allocates nothing, so that reading does not change it.
pub fn free_frames() -> sys::Result<usize> {
    let fd = sys::open(c"/proc/meminfo", sys::O_RDONLY, 0)?;
    let mut buf = [0; 512];
    let length = sys::read(fd, &mut buf);
    sys::close(fd)?;
    let text = core::str::from_utf8(&buf[..length?]).map_err(|_| crate::Errno::EIO)?;
    let kib = crate::text::field_number(text, "MemFree").ok_or(crate::Errno::EIO)?;
    Ok(kib as usize / 4)
}
