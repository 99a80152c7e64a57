//! The heap: what the archive is read into, and each domain's frames while it is built.

use talc::TalcLock;
use talc::source::Claim;

/// Bytes. A domain's frames take 8 bytes each while it is built: this is enough for domains of 4 GiB.
const SIZE: usize = 12 << 20;

static mut HEAP: [u8; SIZE] = [0; SIZE];

#[global_allocator]
static ALLOCATOR: TalcLock<spin::Mutex<()>, Claim> = TalcLock::new(
    // SAFETY: nothing else names `HEAP`, so the allocator owns it.
    unsafe { Claim::array(&raw mut HEAP) },
);
