//! The page cache: frames filled from files that never change, shared by every process that maps them.
//!
//! The cache holds one reference to each frame, so a frame with a single reference is mapped nowhere and can be evicted.

use hashbrown::HashMap;
use spin::Mutex;

use super::addr::{PAGE, Pfn};
use super::backing::FileBacking;
use super::frames;
use crate::hash::Seeded;

/// Frames the cache may hold.
const LIMIT: usize = 4096;

type Key = (u64, u64);

static PAGES: Mutex<HashMap<Key, Pfn, Seeded>> = Mutex::new(HashMap::with_hasher(Seeded));

/// A new frame with one page of the file, zero beyond its end.
pub fn read_page(file: &dyn FileBacking, page: u64) -> Option<Pfn> {
    let pfn = frames::alloc_zeroed()?;
    // SAFETY: the frame was just allocated, so nothing else refers to its bytes.
    let bytes = unsafe { core::slice::from_raw_parts_mut(pfn.bytes(), PAGE as usize) };
    file.read_at(page * PAGE, bytes);
    Some(pfn)
}

/// A frame with one page of the file and a reference for the caller, who must not write it if `shared` comes back true.
pub fn page(file: &dyn FileBacking, page: u64) -> Option<(Pfn, bool)> {
    if file.id() == 0 {
        return read_page(file, page).map(|pfn| (pfn, false));
    }
    let key = (file.id(), page);
    if let Some(&pfn) = PAGES.lock().get(&key) {
        frames::retain(pfn);
        return Some((pfn, true));
    }
    // Read without the lock: a frame may have to be evicted for this one.
    let pfn = read_page(file, page)?;
    if PAGES.lock().len() >= LIMIT {
        evict_unused();
    }
    let mut pages = PAGES.lock();
    if pages.len() >= LIMIT {
        return Some((pfn, false));
    }
    frames::retain(pfn);
    pages.insert(key, pfn);
    Some((pfn, true))
}

/// Drops every page that no process maps.
pub fn evict_unused() {
    PAGES.lock().retain(|_, pfn| {
        let used = frames::references(*pfn) > 1;
        if !used {
            frames::release(*pfn);
        }
        used
    });
}

/// Frames the cache holds.
pub fn len() -> usize {
    PAGES.lock().len()
}
