//! The hypervisor's heap: domain records, decoder tables, device-tree results. Frames for guests and tables
//! never come from here, so that a guest cannot use it up by asking for memory.

use paravane_core::lock::{self, Rank};
use talc::TalcLock;
use talc::lock_api::{self, RawMutex};
use talc::source::Claim;

use crate::boot::memory_map::{FRAME_SIZE, MemoryMap};
use crate::cpu::local::ThisCpu;
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

/// The heap's lock, with its place in the order.
struct HeapLock(spin::Mutex<()>);

// SAFETY: the spin lock inside excludes; booking its rank does nothing to that.
unsafe impl RawMutex for HeapLock {
    // The initial value of every lock of this type: what is wanted here.
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: Self = Self(spin::Mutex::new(()));

    type GuardMarker = lock_api::GuardSend;

    fn lock(&self) {
        lock::taking::<ThisCpu>(Rank::Heap);
        RawMutex::lock(&self.0);
    }

    fn try_lock(&self) -> bool {
        let taken = RawMutex::try_lock(&self.0);
        if taken {
            lock::taking::<ThisCpu>(Rank::Heap);
        }
        taken
    }

    unsafe fn unlock(&self) {
        // SAFETY: the caller holds the lock.
        unsafe { RawMutex::unlock(&self.0) };
        lock::released::<ThisCpu>(Rank::Heap);
    }
}

#[global_allocator]
static ALLOCATOR: TalcLock<HeapLock, Claim> = TalcLock::new(
    // SAFETY: nothing else names `HEAP`, so the allocator owns it.
    unsafe { Claim::array(&raw mut HEAP) },
);
