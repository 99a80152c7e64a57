//! L1 entries that map what other domains lend.
//!
//! Such an entry holds what any holds: a reference of the frame, and a use as writable if it allows writing, so
//! a frame that is a page table or a page of descriptors of its owner can't be lent for writing. The guest may
//! replace the entry like any other; it cannot make one by itself.

use super::{Paging, Pte};
use crate::addr::{DomainId, Level, Mfn, PAGE_SIZE};
use crate::flush::Tlb;
use crate::frame::FrameType;
use crate::guest_memory::LeafSlot;
use crate::memory::Memory;
use paravane_abi::grant::{
    GNTMAP_APPLICATION_MAP, GNTMAP_CONTAINS_PTE, GNTMAP_GUEST_AVAIL_MASK, GNTMAP_READONLY,
};

/// Where a guest wants a mapping: a virtual address, or the machine address of an L1 entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GrantPlace {
    address: u64,
    flags: u32,
}

/// No L1 entry of the guest's is there, or not the one it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoMapping;

/// An entry that was taken out of its table and still holds what it held: until the translations of it are
/// flushed its frame must stay what it is.
#[must_use = "the entry's reference is to be given back after the flush"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unmapped(Pte);

impl GrantPlace {
    /// By the address and `GNTMAP_*` flags of a request.
    pub const fn new(address: u64, flags: u32) -> Self {
        Self { address, flags }
    }

    const fn contains_pte(self) -> bool {
        self.flags & GNTMAP_CONTAINS_PTE != 0
    }

    const fn readonly(self) -> bool {
        self.flags & GNTMAP_READONLY != 0
    }

    /// The entry a mapping gets, before the domain's paging policy. Three bits the guest may choose (Xen takes
    /// no more of them).
    fn entry(self, frame: Mfn) -> Pte {
        let mut bits = Pte::P | Pte::A | Pte::D | Pte::NX;
        if !self.readonly() {
            bits |= Pte::RW;
        }
        if self.flags & GNTMAP_APPLICATION_MAP != 0 {
            bits |= Pte::US;
        }
        let chosen =
            u64::from((self.flags & GNTMAP_GUEST_AVAIL_MASK) >> GNTMAP_GUEST_AVAIL_MASK.trailing_zeros());
        Pte::new(frame, bits | (chosen << Pte::AVAIL.trailing_zeros()) & Pte::AVAIL)
    }
}

impl<M: Memory + Tlb> Paging<'_, M> {
    /// The L1 entry at a place, in a table of the domain's that is in use as one (XSA-227).
    fn grant_slot(&self, place: GrantPlace) -> Option<LeafSlot> {
        let slot = if place.contains_pte() {
            if place.address & 7 != 0 {
                return None;
            }
            let table = Mfn::containing(place.address);
            self.frames.table_writer(table, Level::L1)?;
            let index = (place.address as usize & (PAGE_SIZE - 1)) >> 3;
            LeafSlot { table, index, entry: Pte(self.machine.read_word(table, index)) }
        } else {
            self.guest_memory()?.leaf_slot(place.address)?
        };
        let own = self.frames.is_owned_by(slot.table, self.domain.id);
        let in_use = self.frames.info(slot.table).is_some_and(|info| info.is_in_use_as(FrameType::L1));
        (own && in_use).then_some(slot)
    }

    /// Maps a frame of `granter`'s. What was mapped there before is let go; flushing it is the guest's affair, as
    /// with any change of an L1 entry.
    pub(crate) fn map_grant(
        &mut self,
        place: GrantPlace,
        frame: Mfn,
        granter: DomainId,
    ) -> Result<(), NoMapping> {
        let slot = self.grant_slot(place).ok_or(NoMapping)?;
        let entry = self.domain.policy.admit(place.entry(frame), Level::L1).map_err(|_| NoMapping)?;
        // The reference comes before the entry that needs it (XSA-236).
        self.frames.get_ref(frame, granter).map_err(|_| NoMapping)?;
        if entry.writable() && self.frames.get_writable(self.machine, frame).is_err() {
            self.frames.put_ref(self.machine, frame);
            return Err(NoMapping);
        }
        if granter != self.domain.id {
            self.frames.mark_lent(frame);
        }
        self.write_slot(slot, entry);
        self.validator().0.put_page(slot.entry);
        Ok(())
    }

    /// Takes a mapping of `frame` away, if it is there with just the rights it was made with (XSA-234). With
    /// `new_address` the mapping of that address moves there instead, and is gone where it was.
    pub(crate) fn unmap_grant(
        &mut self,
        place: GrantPlace,
        frame: Mfn,
        new_address: u64,
    ) -> Result<Unmapped, NoMapping> {
        if place.contains_pte() && new_address != 0 {
            return Err(NoMapping);
        }
        let slot = self.grant_slot(place).ok_or(NoMapping)?;
        let rights = if place.readonly() { Pte::P } else { Pte::P | Pte::RW };
        if slot.entry.frame() != frame || slot.entry.0 & (Pte::P | Pte::RW) != rights {
            return Err(NoMapping);
        }
        let mut moved = Pte(0);
        if new_address != 0 {
            let from = self.grant_slot(GrantPlace::new(new_address, 0)).ok_or(NoMapping)?;
            if (from.table, from.index) == (slot.table, slot.index) {
                return Err(NoMapping);
            }
            moved = from.entry;
            self.write_slot(from, Pte(0));
        }
        self.write_slot(slot, moved);
        Ok(Unmapped(slot.entry))
    }

    /// Gives back what an entry held.
    pub(crate) fn put_unmapped(&mut self, unmapped: Unmapped) {
        self.validator().0.put_page(unmapped.0);
    }

    /// Meanwhile CPUs may set A and D in the entry, which is all that can be lost of it.
    fn write_slot(&self, slot: LeafSlot, entry: Pte) {
        if let Some(writer) = self.frames.table_writer(slot.table, Level::L1) {
            self.machine.write_word(&writer, slot.index, entry.0);
        }
    }
}
