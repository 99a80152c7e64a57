//! The frames that only the real processor looks at: shadow tables, and the descriptors of the guest as they may be.

use crate::addr::{DomainId, ENTRIES, Mfn};
use crate::flush::{RootChange, Tlb};
use crate::frame::FrameTable;
use crate::full::RealGdt;
use crate::machine::GUEST_GDT_PAGES;
use crate::memory::Memory;
use crate::shadow::Tables;

/// Shadow tables in the hypervisor's frames.
pub(super) struct ShadowFrames<'a, M> {
    pub frames: &'a FrameTable,
    pub machine: &'a M,
    /// The root that processors run on copies of.
    pub root: Option<(DomainId, Mfn)>,
}

impl<M: Memory + Tlb> ShadowFrames<'_, M> {
    /// A copy that a processor runs on gets what its original got.
    fn root_changed(&self, table: Mfn, slot: usize, entry: u64) {
        if let Some((domain, l4)) = self.root
            && l4 == table
        {
            self.machine.root_changed(domain, RootChange { l4, slot, entry });
        }
    }
}

impl<M: Memory + Tlb> Tables for ShadowFrames<'_, M> {
    fn entry(&self, table: Mfn, slot: usize) -> u64 {
        self.machine.read_word(table, slot)
    }

    fn set_entry(&self, table: Mfn, slot: usize, entry: u64) {
        if let Some(writer) = self.frames.hypervisor_writer(table) {
            self.machine.write_word(&writer, slot, entry);
        }
        self.root_changed(table, slot, entry);
    }

    fn clear(&self, table: Mfn) {
        if let Some(writer) = self.frames.hypervisor_writer(table) {
            self.machine.zero(&writer);
        }
        (0..ENTRIES).for_each(|slot| self.root_changed(table, slot, 0));
    }
}

/// The guest's part of the real descriptor table.
pub(super) struct RealDescriptors<'a, M> {
    pub frames: &'a FrameTable,
    pub machine: &'a M,
    pub pages: [Mfn; GUEST_GDT_PAGES],
}

impl<M> RealDescriptors<'_, M> {
    fn place(&self, index: u16) -> Option<(Mfn, usize)> {
        let index = usize::from(index);
        Some((*self.pages.get(index / ENTRIES)?, index % ENTRIES))
    }
}

impl<M: Memory> RealGdt for RealDescriptors<'_, M> {
    fn get(&self, index: u16) -> u64 {
        self.place(index).map_or(0, |(frame, slot)| self.machine.read_word(frame, slot))
    }

    fn set(&mut self, index: u16, raw: u64) {
        let Some((frame, slot)) = self.place(index) else { return };
        if let Some(writer) = self.frames.hypervisor_writer(frame) {
            self.machine.write_word(&writer, slot, raw);
        }
    }
}
