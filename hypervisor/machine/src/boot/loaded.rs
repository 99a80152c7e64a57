//! What the boot loader placed in memory, as bytes.

use core::slice;

use paravane_core::boot::memory_map::Range;
use paravane_core::boot::{BootError, BootInfo, Physical};

use crate::direct_map;

/// One past the last physical address that the boot page tables map.
const MAPPED_END: u64 = 1 << 32;

/// Memory before any of it is handed out.
struct Loaded {
    image: Range,
}

impl Physical<'static> for Loaded {
    fn bytes(&self, start: u64, length: u64) -> Option<&'static [u8]> {
        if length == 0 {
            return Some(&[]);
        }
        let end = start.checked_add(length).filter(|&end| end <= MAPPED_END)?;
        let in_image = start < self.image.end && self.image.start < end;
        if in_image {
            return None;
        }
        // SAFETY: the boot tables map these addresses, and the hypervisor writes to none of them: they lie outside
        // the image, and what the boot loader placed is reserved before memory is handed out.
        Some(unsafe { slice::from_raw_parts(direct_map::pointer::<u8>(start), length as usize) })
    }
}

/// Reads what the boot loader left. `magic` and `address` are what it passed; `image` is where it put this image.
pub fn information(magic: u32, address: u64, image: Range) -> Result<BootInfo<'static>, BootError> {
    BootInfo::read(&Loaded { image }, magic, address)
}
