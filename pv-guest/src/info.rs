//! What the kernel knows about where it runs.

use crate::arch;
use crate::cpu_ops::facts;

/// The ring kernel code runs in, read from CS.
pub fn kernel_ring() -> u32 {
    arch::current_ring()
}

/// The machine's name in the design's table.
pub fn machine_name() -> &'static str {
    facts().name
}
