//! The words of an entry in the frames shared with the guest.

use super::entry::EntryWords;
use super::{GrantTable, STATUS_PER_FRAME, V1_PER_FRAME, V2_PER_FRAME, Version};
use crate::addr::{DomainId, Mfn};
use crate::frame::FrameTable;
use crate::memory::Memory;
use core::sync::atomic::{Ordering, fence};
use paravane_abi::grant::GrantStatus;

/// An entry of a domain's table, where it stands.
pub(super) struct SharedEntry<'a, M> {
    frames: &'a FrameTable,
    machine: &'a M,
    domain: DomainId,
    frame: Mfn,
    /// The word of the header.
    index: usize,
    /// Frame, word, and shift in it, of the status.
    status: Option<(Mfn, usize, u32)>,
}

/// What an entry lends, as it was in one look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lent {
    /// The first word: header, and what comes after it.
    pub first: u64,
    /// The second word of a version 2 entry.
    pub second: u64,
}

impl GrantTable {
    /// An entry in memory; None past the end of the table.
    pub(super) fn entry_words<'a, M: Memory>(
        &self,
        frames: &'a FrameTable,
        machine: &'a M,
        reference: u32,
    ) -> Option<SharedEntry<'a, M>> {
        let (per_frame, words) = match self.version {
            Version::V1 => (V1_PER_FRAME, 1),
            Version::V2 => (V2_PER_FRAME, 2),
        };
        let frame = *self.shared.get((reference / per_frame) as usize)?;
        let index = (reference % per_frame) as usize * words;
        let status = match self.version {
            Version::V1 => None,
            Version::V2 => {
                let frame = *self.status.get((reference / STATUS_PER_FRAME) as usize)?;
                let byte = (reference % STATUS_PER_FRAME) as usize * size_of::<GrantStatus>();
                Some((frame, byte / 8, (byte % 8 * 8) as u32))
            }
        };
        Some(SharedEntry { frames, machine, domain: self.domain, frame, index, status })
    }
}

impl<M: Memory> SharedEntry<'_, M> {
    /// What the entry says now.
    pub fn lent(&self) -> Lent {
        let first = self.machine.read_word(self.frame, self.index);
        let second = match self.status {
            Some(_) => self.machine.read_word(self.frame, self.index + 1),
            None => 0,
        };
        Lent { first, second }
    }

    /// Writes the whole entry.
    pub fn write(&self, lent: Lent) {
        if let Some(writer) = self.frames.writable(self.frame, self.domain) {
            self.machine.write_word(&writer, self.index, lent.first);
            if self.status.is_some() {
                self.machine.write_word(&writer, self.index + 1, lent.second);
            }
        }
    }

    /// Puts a frame's number where the entry has it, leaving the header alone.
    pub fn write_frame(&self, frame: Mfn) {
        let Some(writer) = self.frames.writable(self.frame, self.domain) else { return };
        match self.status {
            Some(_) => self.machine.write_word(&writer, self.index + 1, frame.get()),
            None => {
                self.machine.write_bytes(&writer, self.index * 8 + 4, &(frame.get() as u32).to_le_bytes())
            }
        }
    }

    /// The status of a version 2 entry.
    pub fn status(&self) -> u16 {
        self.status.map_or(0, |(frame, index, shift)| (self.machine.read_word(frame, index) >> shift) as u16)
    }

    fn change(&self, place: Option<(Mfn, usize, u32)>, flags: u16, set: bool) {
        let Some((frame, index, shift)) = place else { return };
        let Some(writer) = self.frames.writable(frame, self.domain) else { return };
        let bits = u64::from(flags) << shift;
        if set {
            self.machine.set_bits(&writer, index, bits);
        } else {
            self.machine.clear_bits(&writer, index, bits);
        }
    }
}

impl<M: Memory> EntryWords for SharedEntry<'_, M> {
    fn header(&self) -> u32 {
        let header = self.machine.read_word(self.frame, self.index) as u32;
        fence(Ordering::Acquire);
        header
    }

    fn exchange_header(&self, expected: u32, new: u32) -> Result<(), u32> {
        match self.frames.writable(self.frame, self.domain) {
            Some(writer) => self.machine.compare_exchange_half(&writer, self.index * 2, expected, new),
            None => Err(!expected),
        }
    }

    fn set_header_flags(&self, flags: u16) {
        self.change(Some((self.frame, self.index, 0)), flags, true);
    }

    fn clear_header_flags(&self, flags: u16) {
        self.change(Some((self.frame, self.index, 0)), flags, false);
    }

    fn set_status(&self, flags: u16) {
        self.change(self.status, flags, true);
    }

    fn clear_status(&self, flags: u16) {
        self.change(self.status, flags, false);
    }

    fn barrier(&self) {
        fence(Ordering::SeqCst);
    }
}
