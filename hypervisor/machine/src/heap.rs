//! The hypervisor's heap: domain records, decoder tables, device-tree results. Frames for guests and tables
//! never come from here, so that a guest cannot use it up by asking for memory.

use talc::TalcLock;
use talc::source::Claim;

use crate::boot::memory_map::{FRAME_SIZE, MemoryMap};
use crate::direct_map;

/// Bytes of heap in the image: enough to read the boot loader's information. The image must stay small, because
/// firmware (OVMF from 8 MiB on) keeps memory of its own where a larger one would have to lie.
const FIRST: usize = 256 << 10;

/// Bytes of heap that are added once the memory map is known, and of each frame of RAM: a domain's frames are listed
/// while it is built.
const REST: u64 = 8 << 20;
const FOR_EACH_FRAME: u64 = 8;

/// Adds the rest of the heap.
///
/// # Panics
/// When there is no RAM for it: the machine is too small to start at all.
pub fn extend_from(memory: &mut MemoryMap) {
    let listed = memory.total() / FRAME_SIZE * FOR_EACH_FRAME;
    assert!(extend(memory, (REST + listed).next_multiple_of(FRAME_SIZE)), "no RAM for the heap");
}

/// Adds RAM to the heap; false when there is none.
pub fn extend(memory: &mut MemoryMap, bytes: u64) -> bool {
    let Some(start) = memory.allocate(bytes, FRAME_SIZE) else { return false };
    // SAFETY: just allocated, below 4 GiB, where the boot tables and all later ones have the direct map.
    unsafe { ALLOCATOR.lock().claim(direct_map::pointer(start), bytes as usize) }.is_some()
}

static mut HEAP: [u8; FIRST] = [0; FIRST];

#[global_allocator]
static ALLOCATOR: TalcLock<spin::Mutex<()>, Claim> = TalcLock::new(
    // SAFETY: nothing else names `HEAP`, so the allocator owns it.
    unsafe { Claim::array(&raw mut HEAP) },
);
