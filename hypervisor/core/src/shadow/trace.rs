//! Tracing: seeing the guest's writes to what was copied from its memory (the word is Adams and Agesen's).

use super::physical::Tables;
use super::{MOST_LOOSE, MOST_MARKS, NEEDED, Shadow};
use crate::addr::{ENTRIES, PAGE_SHIFT, Pfn};
use crate::flush::Flush;
use crate::pagetable::Pte;

/// As many frames are marked as can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

/// The bits of a guest's entry that a shadow entry was made of.
const COPIED: u64 = Pte::P | Pte::RW | Pte::US | Pte::PS | Pte::FRAME | Pte::NX;
/// The bits it relies on being set.
const MARKS: u64 = Pte::A | Pte::D;

/// Whether a shadow of the old entry says too much, or something else than it should, about the new one.
const fn outdates(old: u64, new: u64) -> bool {
    old & Pte::P != 0 && ((old ^ new) & COPIED != 0 || old & !new & MARKS != 0)
}

impl Shadow {
    /// Whether the guest's writes to a frame are to be seen.
    pub fn is_traced(&self, pfn: Pfn) -> bool {
        self.frames.of(pfn).is_some_and(super::frames::Record::traced)
    }

    /// The guest's word at `address`, a multiple of 8, became `new`: by an emulated write, or by one that the
    /// hypervisor made for it. Nothing happens unless the frame is a page table.
    ///
    /// What was made of the old entry is dropped at once. A processor could use it until the guest invalidates it;
    /// but then it would have to be found by then.
    pub fn guest_wrote(&mut self, tables: &impl Tables, address: u64, old: u64, new: u64) -> Flush {
        let Some(record) = self.frames.find(Pfn::new(address >> PAGE_SHIFT)) else { return Flush::NONE };
        if self.frames.record(record).shadowed == 0 {
            return Flush::NONE;
        }
        self.counters.table_writes += 1;
        let writes = &mut self.frames.record_mut(record).writes;
        *writes = writes.saturating_add(1);
        if outdates(old, new) {
            self.drop_made_of(tables, record, (address >> 3) as usize % ENTRIES);
        }
        self.flush()
    }

    /// From now on the guest's writes to a frame are seen: it holds descriptors. Again for a marked frame changes
    /// nothing.
    pub fn mark(&mut self, tables: &impl Tables, pfn: Pfn) -> Result<Flush, TooMany> {
        if self.marked.contains(&pfn) {
            return Ok(Flush::NONE);
        }
        if self.marked.len() == MOST_MARKS {
            return Err(TooMany);
        }
        self.make_room(tables);
        let record = self.frames.obtain(pfn).ok_or(TooMany)?;
        self.marked.push(pfn);
        self.frames.record_mut(record).marked = true;
        self.protect(tables, record);
        Ok(self.flush())
    }

    /// The frame holds no descriptors any more.
    pub fn unmark(&mut self, pfn: Pfn) {
        self.marked.retain(|marked| *marked != pfn);
        if let Some(record) = self.frames.find(pfn) {
            self.frames.record_mut(record).marked = false;
            self.frames.tidy(record);
        }
    }

    /// Lets the guest write a page table unseen: it does so with an instruction that is not emulated, or has long
    /// begun to use the frame for something else. Its shadows stay, and are forgotten when the guest next
    /// invalidates a translation; if it is a table then, it is traced again. A marked frame stays traced.
    ///
    /// They cannot be given up at once: a table that maps itself, as every table of a direct map does at last, would
    /// be made again, and traced again, by the fault of the very write it was given up for.
    pub fn untrace(&mut self, tables: &impl Tables, pfn: Pfn) -> Flush {
        let Some(record) = self.frames.find(pfn) else { return Flush::NONE };
        if self.frames.record(record).shadowed == 0 || self.frames.record(record).loose {
            return Flush::NONE;
        }
        if self.loose.len() == MOST_LOOSE {
            self.catch_up(tables);
        }
        // That may have given up the table with others.
        if let Some(record) = self.frames.find(pfn).filter(|&record| self.frames.record(record).shadowed > 0)
        {
            self.frames.record_mut(record).loose = true;
            self.loose.push(pfn);
            self.counters.untraced += 1;
        }
        self.flush()
    }

    /// Forgets what was made of tables that the guest could write unseen.
    pub(super) fn catch_up(&mut self, tables: &impl Tables) {
        for pfn in core::mem::take(&mut self.loose) {
            self.give_up_table(tables, pfn);
            // The current root is left, empty; and pages that the guest may write.
            if let Some(record) = self.frames.find(pfn) {
                self.frames.record_mut(record).loose = false;
                self.protect(tables, record);
            }
        }
    }

    /// Sees to it that a fault finds room for its records.
    pub(super) fn make_room(&mut self, tables: &impl Tables) {
        if self.frames.room() < NEEDED {
            self.counters.overflows += 1;
            self.give_up_all(tables);
        }
    }
}
