//! References: what keeps a frame from being freed.

use super::{FrameInfo, FrameTable, Owner};
use crate::addr::{DomainId, Mfn, Pfn};
use crate::flush::Tlb;
use crate::memory::Memory;

/// Counts are refused from here on, well before they could wrap. The rest is for references that must not
/// fail: the one a partial state takes for itself.
pub(super) const COUNT_LIMIT: u32 = u32::MAX - 16;

/// Why no reference was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefError {
    /// The frame is no RAM, or past the end of memory.
    NotRam,
    /// The frame is somebody else's.
    NotOwner,
    /// The frame has as many references as can be counted.
    Overflow,
}

impl FrameTable {
    /// Takes a reference of a frame that must be `domain`'s.
    #[inline]
    pub fn get_ref(&mut self, frame: Mfn, domain: DomainId) -> Result<(), RefError> {
        let info = self.frame_mut(frame).ok_or(RefError::NotRam)?;
        match info.owner {
            Owner::Domain(owner) if owner == domain => {}
            Owner::NotRam => return Err(RefError::NotRam),
            _ => return Err(RefError::NotOwner),
        }
        if info.refs >= COUNT_LIMIT {
            return Err(RefError::Overflow);
        }
        info.refs += 1;
        Ok(())
    }

    /// Takes one more reference of a frame that has one which the caller knows to last. Never fails:
    /// [`COUNT_LIMIT`] leaves room for one per partial state and vcpu operation.
    #[inline]
    pub(crate) fn get_ref_held(&mut self, frame: Mfn) {
        if let Some(info) = self.frame_mut(frame) {
            debug_assert!(info.refs > 0 && info.refs < u32::MAX, "reference of {frame} taken from nothing");
            info.refs += 1;
        }
    }

    /// Gives a reference back. With the last one the frame is freed.
    #[inline]
    pub fn put_ref(&mut self, machine: &(impl Memory + Tlb), frame: Mfn) {
        let Some(info) = self.frame_mut(frame) else { return };
        debug_assert!(info.refs > 0, "{frame} has no reference to give back");
        if info.refs > 1 {
            info.refs -= 1;
        } else if info.refs == 1 {
            self.free(machine, frame);
        }
    }

    #[cold]
    fn free(&mut self, machine: &(impl Memory + Tlb), frame: Mfn) {
        let Some(info) = self.frame_mut(frame) else { return };
        info.refs = 0;
        debug_assert!(
            info.type_count == 0
                && info.flags & !(FrameInfo::SHARED | FrameInfo::VALIDATED | FrameInfo::LENT) == 0,
            "{frame} freed while in use: {info:?}"
        );
        if info.type_count != 0 {
            // Leaking the frame is the harmless end of what must not happen; audit names it.
            return;
        }
        let (owner, shared) = (info.owner, info.shared());
        // Mappings that only read left no stamp, so the stamp is now.
        self.push_free(frame.index(), machine.flush_clock());
        // It stands for nobody's page any more, and whoever gets it next says for which it does.
        machine.set_m2p(frame, Pfn::INVALID);
        if let Owner::Domain(domain) = owner
            && let Some(account) = self.account_mut(domain)
        {
            account.allocated = account.allocated.saturating_sub(u64::from(!shared));
            self.closing_freed |= account.closing;
        }
    }
}
