//! The virtual processor of a fully virtualized guest.
//!
//! The guest is an ordinary 64-bit kernel that believes it is in ring 0. Really it runs in ring 1, its programs in ring 3,
//! and each of its privileged instructions raises #GP (some #UD). Here is what the processor would have done: privileged
//! instructions on virtual registers, exceptions and interrupts through the guest's own IDT and TSS, returns to its
//! programs.
//!
//! Everything that can fail is asked before anything changes: an instruction works on a copy of the registers, its one
//! write to memory comes last, and a refusal drops the copy.

mod control;
mod cpuid;
mod decide;
mod deliver;
mod event;
mod leave;
mod memory;
mod msrs;
mod patch;
mod ports;
mod processor;
mod segments;
mod selectors;
mod state;
mod step;
mod table;
mod tables;
#[cfg(test)]
mod tests;

pub use deliver::{Delivery, deliver, syscall};
pub use event::{Event, Kind};
pub use memory::{GuestLinear, PageFault, Privilege};
pub use patch::{ENTRY as SITE_SIZE, MAX_SITES, Patch, PatchTable, Site, Unpatched, read_sites};
pub use ports::PortAccess;
pub use processor::{Entry, Outcome, Processor, Trap};
pub use segments::{GUEST_ENTRIES, GdtCopy, RealGdt, Resync, sanitised};
pub use state::{CodeSegment, FullCpu, Model, Shadow, SystemRegister, TableRegister, cr0, cr4, efer};
pub use step::Effect;

use crate::cpuid::CpuidLeaf;

/// What instructions ask the real processor.
pub trait Host {
    /// The time stamp counter.
    fn tsc(&self) -> u64;
    /// CPUID as it is. What a guest is shown of it is decided here, for sites that were patched and where the processor can
    /// be made to trap on it.
    fn cpuid(&self, leaf: u32, subleaf: u32) -> CpuidLeaf;
}
