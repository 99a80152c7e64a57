//! The walk itself.

use super::{Fault, GuestMemory};
use crate::addr::{Level, Mfn, VirtAddr};
use crate::flush::Tlb;
use crate::memory::Memory;
use crate::pagetable::Pte;

/// How an address is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Fetching an instruction.
    Fetch,
}

/// The L1 entry that maps an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafSlot {
    /// The L1 table.
    pub table: Mfn,
    /// The entry's index.
    pub index: usize,
    /// The entry.
    pub entry: Pte,
}

impl<M: Memory + Tlb> GuestMemory<'_, M> {
    /// Translates an address for an access, setting A on the way and D in the leaf for a write, as a CPU
    /// would. Returns the leaf entry and the frame.
    #[inline]
    pub fn translate(&self, address: u64, access: Access) -> Result<(Pte, Mfn), Fault> {
        let leaf = match self.leaf(address, access) {
            Some(leaf) => leaf,
            None => self.leaf_marking(address, access)?,
        };
        Ok((leaf, leaf.frame()))
    }

    /// As [`Self::translate`], without the leaf entry.
    #[inline]
    pub(super) fn frame_of(&self, address: u64, access: Access) -> Result<Mfn, Fault> {
        match self.leaf(address, access) {
            Some(leaf) => Ok(leaf.frame()),
            None => self.leaf_marking(address, access).map(Pte::frame),
        }
    }

    /// The leaf entry, when every right is there and every mark is set, as is nearly always so.
    #[inline]
    fn leaf(&self, address: u64, access: Access) -> Option<Pte> {
        let va = VirtAddr::guest(address)?;
        let want = self.rights(access) | Pte::A;
        let never = if access == Access::Fetch { Pte::NX } else { 0 };
        let mut table = self.root;
        for level in [Level::L4, Level::L3, Level::L2] {
            let entry = Pte(self.machine.read_word(table, va.slot(level)));
            if entry.0 & (want | never) != want {
                return None;
            }
            table = entry.frame();
        }
        let want = if access == Access::Write { want | Pte::D } else { want };
        let leaf = Pte(self.machine.read_word(table, va.slot(Level::L1)));
        (leaf.0 & (want | never) == want).then_some(leaf)
    }

    /// The bits an access needs at every level.
    #[inline]
    fn rights(&self, access: Access) -> u64 {
        let user = if self.user { Pte::US } else { 0 };
        let write = if access == Access::Write { Pte::RW } else { 0 };
        Pte::P | user | write
    }

    /// The leaf entry, with the marks set that were missing, or the fault.
    #[cold]
    fn leaf_marking(&self, address: u64, access: Access) -> Result<Pte, Fault> {
        let Some(va) = VirtAddr::guest(address) else {
            // A CPU raises #GP for a non-canonical address; a hypercall argument is just as wrong.
            return Err(self.fault(address, access, 0));
        };
        let must = self.rights(access);
        let mut table = self.root;
        let mut leaf = Pte(0);
        for level in Level::DOWN {
            let index = va.slot(level);
            let marks = if level == Level::L1 && access == Access::Write { Pte::A | Pte::D } else { Pte::A };
            leaf = Pte(self.machine.read_word(table, index));
            loop {
                if !leaf.has(must) || (access == Access::Fetch && leaf.has(Pte::NX)) {
                    let present = if leaf.present() { Fault::PRESENT } else { 0 };
                    return Err(self.fault(address, access, present));
                }
                if leaf.has(marks) {
                    break;
                }
                match self.mark(table, level, index, leaf, marks) {
                    Ok(marked) => {
                        leaf = marked;
                        break;
                    }
                    Err(now) => leaf = now,
                }
            }
            table = leaf.frame();
        }
        Ok(leaf)
    }

    /// Sets A or D in an entry; the error is what the entry was instead.
    fn mark(&self, table: Mfn, level: Level, index: usize, old: Pte, marks: u64) -> Result<Pte, Pte> {
        let new = Pte(old.0 | marks);
        match self.frames.table_writer(table, level) {
            Some(writer) => match self.machine.compare_exchange_word(&writer, index, old.0, new.0) {
                Ok(()) => Ok(new),
                Err(now) => Err(Pte(now)),
            },
            // No table of that level: what was read there is nothing to act on.
            None => Err(Pte(0)),
        }
    }

    /// The L1 entry for an address, present or not, without the rights of the access being looked at or
    /// any bit being set. None where no L1 table is reached.
    #[inline]
    pub fn leaf_slot(&self, address: u64) -> Option<LeafSlot> {
        let va = VirtAddr::guest(address)?;
        let mut table = self.root;
        for level in [Level::L4, Level::L3, Level::L2] {
            let entry = Pte(self.machine.read_word(table, va.slot(level)));
            if !entry.present() {
                return None;
            }
            table = entry.frame();
        }
        let index = va.slot(Level::L1);
        Some(LeafSlot { table, index, entry: Pte(self.machine.read_word(table, index)) })
    }
}
