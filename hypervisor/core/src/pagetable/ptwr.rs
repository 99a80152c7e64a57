//! Page-table writes that trap.
//!
//! A guest kernel may write its live L1 tables as if they were writable: the write faults, since the page
//! is mapped read-only, and is done here as a checked update. Linux relies on it (`xchg`, `lock and` of
//! one byte). L2 and further up is never written this way.

use super::update::{How, Unchanged};
use super::{MapOwner, Paging, Pte};
use crate::addr::{Level, Mfn, PAGE_SIZE};
use crate::flush::Tlb;
use crate::frame::FrameType;
use crate::memory::Memory;
use paravane_abi::errno::Errno;

/// How a trapped write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PtWrite {
    /// The entry was written.
    Done,
    /// A compare-exchange found this, at the width of the access.
    Mismatch(u64),
    /// The entry was refused, or the write is none that is emulated: the page fault is the guest's.
    Refused(Errno),
}

impl<M: Memory + Tlb> Paging<'_, M> {
    /// The L1 table a guest kernel's write to `address` would hit, when that is what the page fault
    /// (present, write) was about: a read-only mapping of the domain's own L1 in use.
    pub fn trapped_table(&self, address: u64) -> Option<Mfn> {
        let leaf = self.guest_memory()?.leaf_slot(address)?.entry;
        if !leaf.present() || leaf.writable() {
            return None;
        }
        let frame = leaf.frame();
        let ours = self.frames.is_owned_by(frame, self.domain.id);
        (ours && self.frames.info(frame)?.is_in_use_as(FrameType::L1)).then_some(frame)
    }

    /// Performs a guest's write of `width` (1, 2, 4 or 8) bytes at `address`, which must be aligned to
    /// it, in the L1 that [`Self::trapped_table`] finds there. With `expected` it is a compare-exchange of
    /// the same width: do read-modify-write instructions that way, and again after a mismatch.
    pub fn emulate_pt_write(
        &mut self,
        address: u64,
        width: usize,
        new: u64,
        expected: Option<u64>,
    ) -> PtWrite {
        if !matches!(width, 1 | 2 | 4 | 8) || address & (width as u64 - 1) != 0 {
            return PtWrite::Refused(Errno::EINVAL);
        }
        let Some(table) = self.trapped_table(address) else { return PtWrite::Refused(Errno::EFAULT) };
        let index = (address as usize & (PAGE_SIZE - 1)) >> 3;
        let shift = (address as u32 & 7) * 8;
        let mask = if width == 8 { u64::MAX } else { ((1 << (width * 8)) - 1) << shift };
        let place = |part: u64, whole: u64| (whole & !mask) | (part << shift & mask);

        loop {
            let whole = self.machine.read_word(table, index);
            let wish = Pte(place(new, whole));
            let how = match expected {
                Some(part) => How::Exchange(place(part, whole)),
                // The bytes beside a narrow store must not be put back to what they were a moment ago.
                None if width != 8 => How::Exchange(whole),
                None => How::Plain,
            };
            match self.update_l1(table, index, wish, how, MapOwner::Own) {
                Ok(()) => return PtWrite::Done,
                Err(Unchanged::Refused(error)) => return PtWrite::Refused(error),
                Err(Unchanged::Mismatch(now)) if expected.is_some() => {
                    return PtWrite::Mismatch((now & mask) >> shift);
                }
                // A CPU set A or D meanwhile, which it can do twice.
                Err(Unchanged::Mismatch(_)) => {}
            }
        }
    }

    /// Reads from the L1 that [`Self::trapped_table`] finds at `address`: the operand of a
    /// read-modify-write instruction.
    pub fn read_trapped(&self, address: u64, width: usize) -> Option<u64> {
        if !matches!(width, 1 | 2 | 4 | 8) || address & (width as u64 - 1) != 0 {
            return None;
        }
        let table = self.trapped_table(address)?;
        debug_assert!(self.frames.table_writer(table, Level::L1).is_some());
        let whole = self.machine.read_word(table, (address as usize & (PAGE_SIZE - 1)) >> 3);
        let shift = (address as u32 & 7) * 8;
        let mask = if width == 8 { u64::MAX } else { (1 << (width * 8)) - 1 };
        Some(whole >> shift & mask)
    }
}
