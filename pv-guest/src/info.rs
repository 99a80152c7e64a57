//! What the kernel knows about where it runs.

use crate::arch;
use crate::cpu_ops::{CpuOps, machine};
use crate::process;

/// The ring kernel code runs in, read from CS.
pub fn kernel_ring() -> u32 {
    arch::current_ring()
}

/// The machine's name in the design's table.
pub fn machine_name() -> &'static str {
    machine().name()
}

/// How often the CPU changed hands between processes.
pub fn switches() -> u64 {
    process::sched::switches()
}
