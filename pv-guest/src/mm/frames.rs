//! The frame allocator: a free list threaded through an array with one record per frame, and a reference count per
//! frame, because copy-on-write and the page cache share frames.

use spin::Mutex;

use super::addr::{PAGE, Pfn};
use super::cache;

const END: u32 = u32::MAX;
/// The count of frames that are never freed: image, boot tables, heap, initramfs.
const RESERVED: u32 = u32::MAX;

/// One frame's record.
#[derive(Clone, Copy)]
pub struct Record {
    refs: u32,
    next: u32,
}

struct Frames {
    records: &'static mut [Record],
    head: u32,
    free: usize,
    usable: usize,
}

static FRAMES: Mutex<Frames> = Mutex::new(Frames { records: &mut [], head: END, free: 0, usable: 0 });

/// Starts the allocator with every frame for which `reserved` is false on the free list.
pub fn init(records: &'static mut [Record], reserved: impl Fn(Pfn) -> bool) {
    let mut frames = FRAMES.lock();
    frames.records = records;
    // Downwards, so that low frames are handed out first.
    for pfn in (0..frames.records.len()).rev() {
        let head = frames.head;
        if reserved(Pfn(pfn as u64)) {
            frames.records[pfn] = Record { refs: RESERVED, next: END };
        } else {
            frames.records[pfn] = Record { refs: 0, next: head };
            frames.head = pfn as u32;
            frames.free += 1;
        }
    }
    frames.usable = frames.free;
}

fn take() -> Option<Pfn> {
    let mut frames = FRAMES.lock();
    let pfn = frames.head;
    if pfn == END {
        return None;
    }
    let record = &mut frames.records[pfn as usize];
    assert!(record.refs == 0, "frame {pfn:#x} is free and in use");
    let next = record.next;
    *record = Record { refs: 1, next: END };
    frames.head = next;
    frames.free -= 1;
    Some(Pfn(u64::from(pfn)))
}

/// A frame with one reference and whatever it last held. Takes frames from the page cache when none are free.
pub fn alloc() -> Option<Pfn> {
    take().or_else(|| {
        cache::evict_unused();
        take()
    })
}

/// A zeroed frame with one reference.
pub fn alloc_zeroed() -> Option<Pfn> {
    let pfn = alloc()?;
    zero(pfn);
    Some(pfn)
}

/// Fills a frame with zeros.
pub fn zero(pfn: Pfn) {
    // SAFETY: the caller owns the frame, which the direct map maps writable unless it is a page table.
    unsafe { pfn.bytes().write_bytes(0, PAGE as usize) };
}

/// Copies one frame to another.
pub fn copy(from: Pfn, to: Pfn) {
    assert!(from != to);
    // SAFETY: two distinct frames in the direct map; the caller owns `to`.
    unsafe { core::ptr::copy_nonoverlapping(from.bytes(), to.bytes(), PAGE as usize) };
}

/// Adds a reference.
pub fn retain(pfn: Pfn) {
    let mut frames = FRAMES.lock();
    let record = &mut frames.records[pfn.0 as usize];
    assert!(record.refs != 0, "a reference to free frame {:#x}", pfn.0);
    if record.refs != RESERVED {
        record.refs += 1;
    }
}

/// Drops a reference; the last one frees the frame.
pub fn release(pfn: Pfn) {
    let mut frames = FRAMES.lock();
    let head = frames.head;
    let record = &mut frames.records[pfn.0 as usize];
    match record.refs {
        0 => panic!("frame {:#x} freed twice", pfn.0),
        RESERVED => {}
        1 => {
            *record = Record { refs: 0, next: head };
            frames.head = pfn.0 as u32;
            frames.free += 1;
        }
        _ => record.refs -= 1,
    }
}

/// How many references a frame has.
pub fn references(pfn: Pfn) -> u32 {
    FRAMES.lock().records[pfn.0 as usize].refs
}

/// Frames on the free list.
pub fn free_count() -> usize {
    FRAMES.lock().free
}

/// Frames that were free when the allocator started.
pub fn usable_count() -> usize {
    FRAMES.lock().usable
}
