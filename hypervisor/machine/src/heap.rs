//! The hypervisor's heap: domain records, decoder tables, device-tree results. Frames for guests and tables
//! never come from here, so that a guest cannot use it up by asking for memory.

use talc::TalcLock;
use talc::source::Claim;

/// Bytes of heap.
const SIZE: usize = 8 << 20;

static mut HEAP: [u8; SIZE] = [0; SIZE];

#[global_allocator]
static ALLOCATOR: TalcLock<spin::Mutex<()>, Claim> = TalcLock::new(
    // SAFETY: nothing else names `HEAP`, so the allocator owns it.
    unsafe { Claim::array(&raw mut HEAP) },
);
