//! Taking an entry into use and letting it go.

use paravane_abi::grant::{GTF_SUB_PAGE, GTF_TRANSITIVE, GTF_TYPE_MASK};

use super::entry::{Use, claim_v1, claim_v2, commit_transfer, complete_transfer, release};
use super::words::Lent;
use super::{Active, GrantError, GrantTable, Mapping, NoMemory, Pins, Version};
use crate::addr::{DomainId, Mfn, Pfn};
use crate::flush::Tlb;
use crate::frame::FrameTable;
use crate::memory::Memory;
use paravane_abi::grant::GNTTAB_NR_RESERVED_ENTRIES;

impl GrantTable {
    /// What is remembered of an entry.
    pub(super) fn active(&self, memory: &impl Memory, reference: u32) -> Option<Active> {
        self.active.get(memory, reference).map(Active::from_words)
    }

    /// Remembers an entry.
    fn set_active(&mut self, frames: &FrameTable, memory: &impl Memory, reference: u32, active: Active) {
        let was = self.active(memory, reference).is_some_and(|old| old.pins.any());
        if reference >= GNTTAB_NR_RESERVED_ENTRIES {
            match (was, active.pins.any()) {
                (false, true) => self.busy += 1,
                (true, false) => self.busy -= 1,
                _ => {}
            }
        }
        self.active.set(frames, memory, reference, active.to_words());
    }

    /// Takes an entry into use for a mapping by `grantee`; the frame. The frame is not held: the mapping is what
    /// will hold it.
    pub(crate) fn pin_for_map<M: Memory + Tlb>(
        &mut self,
        frames: &FrameTable,
        machine: &M,
        reference: u32,
        grantee: DomainId,
        (pins, readonly): (Pins, bool),
    ) -> Result<Mfn, GrantError> {
        let mut active = self.usable(machine, reference, grantee, pins)?;
        if active.pins.any() && active.sub_page {
            return Err(GrantError::General);
        }
        let fresh = !active.pins.any();
        if fresh || (!readonly && !active.pins.writers()) {
            let wanted = Use { grantee: grantee.0, readonly, mapping: true, pinned: !fresh };
            self.claim(frames, machine, reference, wanted)?;
            if fresh {
                let frame = self.frame_lent(frames, machine, reference);
                if !frames.is_owned_by(frame, self.domain) {
                    self.reduce(frames, machine, reference, active.pins, readonly);
                    return Err(GrantError::BadPage);
                }
                active = Active::whole(self.domain, reference, grantee, frame);
            }
        }
        active.pins = active.pins.plus(pins);
        self.set_active(frames, machine, reference, active);
        Ok(active.frame)
    }

    /// The record of an entry that `grantee` may use once more.
    pub(crate) fn usable(
        &self,
        memory: &impl Memory,
        reference: u32,
        grantee: DomainId,
        pins: Pins,
    ) -> Result<Active, GrantError> {
        if reference >= self.entries() {
            return Err(GrantError::BadReference);
        }
        let active = self.active(memory, reference).ok_or(GrantError::BadReference)?;
        if active.pins.any() && (active.grantee != grantee || active.pins.full(pins)) {
            return Err(GrantError::General);
        }
        Ok(active)
    }

    /// Sets the flags that say "in use", if the entry allows the use.
    pub(crate) fn claim<M: Memory>(
        &self,
        frames: &FrameTable,
        machine: &M,
        reference: u32,
        wanted: Use,
    ) -> Result<(), GrantError> {
        let words = self.entry_words(frames, machine, reference).ok_or(GrantError::BadReference)?;
        match self.version {
            Version::V1 => claim_v1(&words, wanted)?,
            Version::V2 => claim_v2(&words, wanted)?,
        }
        Ok(())
    }

    /// The frame an entry names.
    fn frame_lent<M: Memory>(&self, frames: &FrameTable, machine: &M, reference: u32) -> Mfn {
        let lent = self.entry_words(frames, machine, reference).map(|words| words.lent());
        self.frame_of(lent.unwrap_or(Lent { first: u64::MAX, second: u64::MAX }))
    }

    fn frame_of(&self, lent: Lent) -> Mfn {
        Mfn::new(match self.version {
            Version::V1 => lent.first >> 32,
            Version::V2 => lent.second,
        })
    }

    /// What an entry that is being claimed for a copy lends, its frame being this domain's.
    pub(crate) fn whole_or_part<M: Memory>(
        &self,
        frames: &FrameTable,
        machine: &M,
        reference: u32,
        grantee: DomainId,
    ) -> Result<Active, GrantError> {
        let words = self.entry_words(frames, machine, reference).ok_or(GrantError::BadReference)?;
        let lent = words.lent();
        let frame = self.frame_of(lent);
        if !frames.is_owned_by(frame, self.domain) {
            return Err(GrantError::BadPage);
        }
        let mut active = Active::whole(self.domain, reference, grantee, frame);
        if self.version == Version::V2 && lent.first as u16 & GTF_SUB_PAGE != 0 {
            active.sub_page = true;
            (active.start, active.length) = ((lent.first >> 32) as u16, (lent.first >> 48) as u16);
        }
        Ok(active)
    }

    /// The domain and the entry that a transitive entry passes on, if that is what it is now.
    pub(crate) fn passes_on<M: Memory>(
        &self,
        frames: &FrameTable,
        machine: &M,
        reference: u32,
    ) -> Option<(DomainId, u32)> {
        if self.version == Version::V1 {
            return None;
        }
        let lent = self.entry_words(frames, machine, reference)?.lent();
        (lent.first as u16 & GTF_TYPE_MASK == GTF_TRANSITIVE)
            .then_some((DomainId((lent.first >> 32) as u16), lent.second as u32))
    }

    /// Notes one more use.
    pub(crate) fn add_pin(
        &mut self,
        frames: &FrameTable,
        memory: &impl Memory,
        reference: u32,
        active: Active,
        pins: Pins,
    ) {
        let pins = active.pins.plus(pins);
        self.set_active(frames, memory, reference, Active { pins, ..active });
    }

    /// Lets an entry go: notes one use less, and clears the flags of uses that are no more.
    pub(crate) fn unpin<M: Memory>(
        &mut self,
        frames: &FrameTable,
        machine: &M,
        reference: u32,
        pins: Pins,
        readonly: bool,
    ) {
        let Some(mut active) = self.active(machine, reference) else { return };
        active.pins = active.pins.minus(pins);
        self.set_active(frames, machine, reference, active);
        self.reduce(frames, machine, reference, active.pins, readonly);
    }

    /// Clears the flags that `pins` do not justify. An entry that a change of version took away has none.
    pub(crate) fn reduce<M: Memory>(
        &self,
        frames: &FrameTable,
        machine: &M,
        reference: u32,
        pins: Pins,
        readonly: bool,
    ) {
        if let Some(words) = self.entry_words(frames, machine, reference) {
            release(&words, self.version == Version::V2, pins, readonly);
        }
    }

    /// Commits an entry to receiving a frame from `giver`.
    pub(crate) fn commit_transfer<M: Memory>(
        &self,
        frames: &FrameTable,
        machine: &M,
        reference: u32,
        giver: DomainId,
    ) -> Result<(), GrantError> {
        let words = self.entry_words(frames, machine, reference).ok_or(GrantError::General)?;
        Ok(commit_transfer(&words, giver.0)?)
    }

    /// Tells the domain of the frame it has received: the M2P has it as the guest frame the entry named.
    pub(crate) fn complete_transfer<M: Memory>(
        &self,
        frames: &FrameTable,
        machine: &M,
        reference: u32,
        frame: Mfn,
    ) {
        let Some(words) = self.entry_words(frames, machine, reference) else { return };
        machine.set_m2p(frame, Pfn::new(self.frame_of(words.lent()).get()));
        words.write_frame(frame);
        complete_transfer(&words);
    }

    /// Makes room for a mapping of this domain's.
    pub(crate) fn reserve_mapping<M: Memory + Tlb>(
        &mut self,
        frames: &mut FrameTable,
        machine: &M,
    ) -> Result<(), NoMemory> {
        self.maptrack.reserve(frames, machine)
    }

    /// Records a mapping of this domain's, room for which was made; its handle.
    pub(crate) fn record_mapping(
        &mut self,
        frames: &FrameTable,
        memory: &impl Memory,
        mapping: Mapping,
    ) -> Option<u32> {
        self.maptrack.insert(frames, memory, mapping)
    }

    /// The mapping of a handle.
    pub(crate) fn mapping(&self, memory: &impl Memory, handle: u32) -> Option<Mapping> {
        self.maptrack.get(memory, handle)
    }

    /// Forgets halves of a mapping.
    pub(crate) fn clear_mapping(
        &mut self,
        frames: &FrameTable,
        memory: &impl Memory,
        handle: u32,
        halves: u16,
    ) {
        self.maptrack.clear(frames, memory, handle, halves);
    }

    /// Takes the highest handle away; see `Maptrack::pop`.
    pub(crate) fn pop_mapping<M: Memory + Tlb>(
        &mut self,
        frames: &mut FrameTable,
        machine: &M,
    ) -> Option<Option<Mapping>> {
        self.maptrack.pop(frames, machine)
    }

    /// The frame of an entry in use, and who uses it.
    pub(crate) fn in_use(&self, memory: &impl Memory, reference: u32) -> Option<Active> {
        self.active(memory, reference).filter(|active| active.pins.any())
    }
}
