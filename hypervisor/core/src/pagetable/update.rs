//! Changing one entry.
//!
//! What may fail comes before the first write, so "refused" means "unchanged". The new entry's frame is
//! held before the entry is written, the old one's let go after, when no CPU's root has it any more.

use super::{MapOwner, OpError, Paging, Pte};
use crate::addr::{Level, Mfn, PAGE_SIZE, Pfn, is_reserved_slot};
use crate::flush::{Effects, Flush, RootChange, Tlb};
use crate::frame::FrameType;
use crate::memory::Memory;
use paravane_abi::errno::Errno;

/// How an entry is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// As given.
    Plain,
    /// With the accessed and dirty bits that are set at that moment.
    KeepMarks,
    /// Only if the entry still is this.
    Exchange(u64),
}

/// Why an L1 entry was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unchanged {
    /// It was refused.
    Refused(Errno),
    /// [`How::Exchange`]: the entry is another.
    Mismatch(u64),
}

impl From<Errno> for Unchanged {
    fn from(error: Errno) -> Self {
        Self::Refused(error)
    }
}

impl From<Unchanged> for OpError {
    fn from(unchanged: Unchanged) -> Self {
        match unchanged {
            Unchanged::Refused(error) => Self::Refused(error),
            // Only asked for by `Exchange`, and a guest that asks is told in another way.
            Unchanged::Mismatch(_) => Self::Refused(Errno::EBUSY),
        }
    }
}

impl<M: Memory + Tlb> Paging<'_, M> {
    /// `mmu_update`'s `MMU_NORMAL_PT_UPDATE` and `MMU_PT_UPDATE_PRESERVE_AD`: writes the entry at machine
    /// address `address`. In a page that is no table this is a plain write.
    pub(super) fn update_entry(
        &mut self,
        address: u64,
        wish: Pte,
        how: How,
        owner: MapOwner,
    ) -> Result<(), OpError> {
        let table = Mfn::containing(address);
        let index = (address as usize & (PAGE_SIZE - 1)) >> 3;
        if !self.frames.is_owned_by(table, self.domain.id) {
            return Err(OpError::Refused(Errno::EINVAL));
        }
        let in_use = self
            .frames
            .info(table)
            .filter(|info| info.type_count() > 0 && info.validated())
            .map(|info| info.kind());
        match (in_use, in_use.and_then(FrameType::level)) {
            (_, Some(Level::L1)) => Ok(self.update_l1(table, index, wish, how, owner)?),
            (_, Some(_)) if owner != MapOwner::Own => Err(OpError::Refused(Errno::EINVAL)),
            (_, Some(level)) => self.update_upper(table, level, index, wish, how),
            (Some(FrameType::SegDesc), _) => Err(OpError::Refused(Errno::EINVAL)),
            _ => self.write_untyped(table, index, wish.0),
        }
    }

    /// Writes a word of a page that its owner could write itself.
    pub(super) fn write_untyped(&mut self, frame: Mfn, index: usize, value: u64) -> Result<(), OpError> {
        if self.frames.get_writable(self.machine, frame).is_err() {
            return Err(OpError::Refused(Errno::EINVAL));
        }
        if let Some(writer) = self.frames.writable(frame, self.domain.id) {
            self.machine.write_word(&writer, index, value);
        }
        self.frames.put_writable(self.machine, frame);
        Ok(())
    }

    /// `MMU_MACHPHYS_UPDATE`: the M2P says what the guest wants it to say of its own frames.
    pub(super) fn update_m2p(&mut self, frame: Mfn, pfn: Pfn) -> Result<(), OpError> {
        if !self.frames.is_owned_by(frame, self.domain.id) {
            return Err(OpError::Refused(Errno::EINVAL));
        }
        self.machine.set_m2p(frame, pfn);
        Ok(())
    }

    /// Changes an entry of an L1 in use. Flushing is the guest's affair: as long as a CPU may still have
    /// the old translation, the old page keeps a stamp that makes its next change of type flush.
    #[inline]
    pub(super) fn update_l1(
        &mut self,
        table: Mfn,
        index: usize,
        wish: Pte,
        how: How,
        owner: MapOwner,
    ) -> Result<(), Unchanged> {
        let old = Pte(self.machine.read_word(table, index));
        if let How::Exchange(expected) = how
            && old.0 != expected
        {
            return Err(Unchanged::Mismatch(old.0));
        }
        let new = self.domain.policy.admit(wish, Level::L1)?;
        if new.present() && new.is_like(old, Level::L1) {
            return self.store(table, Level::L1, index, old, new, how).map(|_| ());
        }
        if new.present() {
            self.validator().0.get_page(new, owner)?;
        }
        match self.store(table, Level::L1, index, old, new, how) {
            Ok(_) => {
                self.validator().0.put_page(old);
                Ok(())
            }
            Err(unchanged) => {
                self.validator().0.put_page(new);
                Err(unchanged)
            }
        }
    }

    /// Changes an entry of an L2, L3 or L4 in use.
    pub(super) fn update_upper(
        &mut self,
        table: Mfn,
        level: Level,
        index: usize,
        wish: Pte,
        how: How,
    ) -> Result<(), OpError> {
        let Some(below) = level.below() else { return Err(OpError::Refused(Errno::EINVAL)) };
        if level == Level::L4 && is_reserved_slot(index) {
            return Err(OpError::Refused(Errno::EINVAL));
        }
        let old = Pte(self.machine.read_word(table, index));
        let new = self.domain.policy.admit(wish, level)?;
        let alike = new.present() && new.is_like(old, level);
        if new.present() && !alike {
            self.acquire_table(new.frame(), below)?;
        }
        let stored = match self.store(table, level, index, old, new, how) {
            Ok(stored) => stored,
            Err(unchanged) => {
                if new.present() && !alike {
                    self.release_table(new.frame(), below);
                }
                return Err(unchanged.into());
            }
        };
        let root = (level == Level::L4).then_some(RootChange { l4: table, slot: index, entry: stored.0 });
        // CPUs cache entries of upper tables as well (SDM vol. 3, 4.10.3), and not those not present.
        let flush = if old.present() && stored != old { Flush::DOMAIN } else { Flush::NONE };
        Effects { flush, root }.discharge(self.machine, self.domain.id);
        if old.present() && !alike {
            self.release_table(old.frame(), below);
        }
        Ok(())
    }

    /// Writes an entry of a table in use and returns what was written. CPUs may set A and D in it at any
    /// time; nothing else changes it.
    #[inline]
    fn store(
        &self,
        table: Mfn,
        level: Level,
        index: usize,
        old: Pte,
        new: Pte,
        how: How,
    ) -> Result<Pte, Unchanged> {
        let Some(writer) = self.frames.table_writer(table, level) else { return Err(Errno::EINVAL.into()) };
        match how {
            How::Plain => {
                self.machine.write_word(&writer, index, new.0);
                Ok(new)
            }
            How::Exchange(expected) => self
                .machine
                .compare_exchange_word(&writer, index, expected, new.0)
                .map(|()| new)
                .map_err(Unchanged::Mismatch),
            How::KeepMarks => {
                const MARKS: u64 = Pte::A | Pte::D;
                let mut now = old.0;
                loop {
                    let merged = new.0 | now & MARKS;
                    match self.machine.compare_exchange_word(&writer, index, now, merged) {
                        Ok(()) => return Ok(Pte(merged)),
                        Err(other) if (other ^ old.0) & !MARKS == 0 => now = other,
                        // Not CPUs' doing, so not possible.
                        Err(_) => return Err(Errno::EBUSY.into()),
                    }
                }
            }
        }
    }
}
