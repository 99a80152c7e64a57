//! What shadow paging needs of the machine: the guest's memory by the guest's own numbers, and the frames that
//! the shadow tables lie in.

use crate::addr::{Mfn, Pfn};

/// A guest's memory by guest-physical address.
///
/// Addresses come from the guest's tables and registers, so any may be asked for. One behind which there is no
/// memory is answered with "none"; it never panics, and never reaches what is not the guest's.
pub trait Physical {
    /// The word at an address that is a multiple of 8, in one access. None where there is no memory.
    fn read(&self, address: u64) -> Option<u64>;

    /// Writes `new` at an address that is a multiple of 8 when the word there is `expected`, in one atomic step.
    /// False when it is something else, or where there is no memory.
    fn compare_exchange(&self, address: u64, expected: u64, new: u64) -> bool;

    /// The machine frame behind a guest frame, which the guest may read and write as it likes. None for holes
    /// and for the registers of devices.
    fn frame(&self, pfn: Pfn) -> Option<Mfn>;
}

/// The frames that shadow tables lie in. They are the hypervisor's and no guest ever maps them, so an
/// implementation writes them through [`FrameTable::hypervisor_writer`](crate::frame::FrameTable::hypervisor_writer).
///
/// The processor only reads them: every entry has A, and D where it allows writing, from the start.
pub trait Tables {
    /// The entry in a slot (0 to 511).
    fn entry(&self, table: Mfn, slot: usize) -> u64;

    /// Writes a slot (0 to 511), in one access.
    fn set_entry(&self, table: Mfn, slot: usize, entry: u64);

    /// Fills a table with zeros.
    fn clear(&self, table: Mfn);
}
