//! Start of day: from PVH's 32-bit entry to a machine that can build its first domain.

pub mod memory_map;
pub mod modules;

use core::arch::global_asm;

global_asm!(include_str!("boot.S"));
