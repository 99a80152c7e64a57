//! Start of day: from the 32-bit entries, PVH's and multiboot2's, to a machine that can build its first domain.

mod loaded;

pub use loaded::information;
pub use paravane_core::boot::memory_map;

use core::arch::global_asm;

global_asm!(include_str!("boot.S"));
