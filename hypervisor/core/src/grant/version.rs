//! Changing the table's form, and swapping entries.

use alloc::vec::Vec;

use paravane_abi::errno::Errno;
use paravane_abi::grant::{
    GNTTAB_NR_RESERVED_ENTRIES, GTF_PERMIT_ACCESS, GTF_READING, GTF_TRANSITIVE, GTF_TYPE_MASK, GTF_WRITING,
};

use super::entry::EntryWords;
use super::words::Lent;
use super::{GrantError, GrantTable, Version};
use crate::flush::Tlb;
use crate::frame::FrameTable;
use crate::memory::Memory;

/// The hypervisor's flags, which are in the entry in version 1 and in the status in version 2.
const MARKS: u64 = (GTF_READING | GTF_WRITING) as u64;

impl GrantTable {
    /// Gives the table another form. All entries but the reserved ones are cleared, and must not be in use.
    pub(crate) fn set_version<M: Memory + Tlb>(
        &mut self,
        version: Version,
        frames: &mut FrameTable,
        machine: &M,
    ) -> Result<(), Errno> {
        if self.version == version {
            return Ok(());
        }
        if self.busy > 0 {
            return Err(Errno::EBUSY);
        }
        let reserved = match version {
            Version::V2 => self.reserved_for_v2(frames, machine),
            Version::V1 => self.reserved_for_v1(frames, machine)?,
        };
        match version {
            Version::V2 => {
                self.populate_status(self.shared.len() as u32, frames, machine).map_err(|_| Errno::ENOMEM)?;
            }
            // A page that goes back must not stay mapped (XSA-255, XSA-387).
            Version::V1 if !self.status.iter().all(|frame| frames.is_unmapped_shared(*frame)) => {
                return Err(Errno::EBUSY);
            }
            Version::V1 => {
                for frame in self.status.drain(..) {
                    frames.release_shared(machine, frame);
                }
            }
        }
        for frame in &self.shared {
            if let Some(writer) = frames.writable(*frame, self.domain) {
                machine.zero(&writer);
            }
        }
        self.version = version;
        for (reference, (lent, status)) in reserved.into_iter().enumerate() {
            if let Some(words) = self.entry_words(frames, machine, reference as u32) {
                words.write(lent);
                words.set_status(status);
            }
        }
        Ok(())
    }

    /// The reserved entries as version 2 has them, with their statuses.
    fn reserved_for_v2<M: Memory>(&self, frames: &FrameTable, machine: &M) -> Vec<(Lent, u16)> {
        self.reserved(frames, machine)
            .into_iter()
            .map(|(lent, _)| {
                let header = lent.first & u64::from(u32::MAX);
                (Lent { first: header & !MARKS, second: lent.first >> 32 }, (header & MARKS) as u16)
            })
            .collect()
    }

    /// The reserved entries as version 1 has them: ERANGE if one can't be said there. What is neither access nor
    /// nothing is dropped.
    fn reserved_for_v1<M: Memory>(
        &self,
        frames: &FrameTable,
        machine: &M,
    ) -> Result<Vec<(Lent, u16)>, Errno> {
        self.reserved(frames, machine)
            .into_iter()
            .map(|(lent, status)| match lent.first as u16 & GTF_TYPE_MASK {
                GTF_TRANSITIVE => Err(Errno::ERANGE),
                GTF_PERMIT_ACCESS if lent.second >> 32 != 0 => Err(Errno::ERANGE),
                GTF_PERMIT_ACCESS => {
                    let header = lent.first & u64::from(u32::MAX) | u64::from(status);
                    Ok((Lent { first: header | lent.second << 32, second: 0 }, 0))
                }
                _ => Ok((Lent { first: 0, second: 0 }, 0)),
            })
            .collect()
    }

    fn reserved<M: Memory>(&self, frames: &FrameTable, machine: &M) -> Vec<(Lent, u16)> {
        let entries = (0..GNTTAB_NR_RESERVED_ENTRIES).filter_map(|n| self.entry_words(frames, machine, n));
        entries.map(|words| (words.lent(), words.status())).collect()
    }

    /// Swaps two entries that are not in use.
    pub(crate) fn swap<M: Memory>(
        &self,
        frames: &FrameTable,
        machine: &M,
        (a, b): (u32, u32),
    ) -> Result<(), GrantError> {
        let missing = GrantError::BadReference;
        let first = self.entry_words(frames, machine, a).ok_or(missing)?;
        let second = self.entry_words(frames, machine, b).ok_or(missing)?;
        if a == b {
            return Ok(());
        }
        if self.in_use(machine, a).is_some() || self.in_use(machine, b).is_some() {
            return Err(GrantError::TryAgain);
        }
        let (old, status) = ((first.lent(), second.lent()), (first.status(), second.status()));
        first.write(old.1);
        second.write(old.0);
        for (words, now, wanted) in [(&first, status.0, status.1), (&second, status.1, status.0)] {
            words.clear_status(now & !wanted);
            words.set_status(wanted & !now);
        }
        Ok(())
    }
}
