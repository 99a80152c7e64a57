//! Types: what a frame is used as, and the steps between.
//!
//! Writable is the simple type: nothing to check. Page tables and descriptor pages are entered through
//! [`FrameTable::begin_type`], after which `pagetable` checks the contents and ends with
//! [`FrameTable::finish_validation`], [`FrameTable::abandon_validation`] or [`FrameTable::park`].

use super::refs::COUNT_LIMIT;
use super::{Direction, FrameInfo, FrameTable, FrameType, Partial};
use crate::addr::Mfn;
use crate::flush::Tlb;

/// Why no type count was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TypeError {
    /// The frame is in use as something else.
    InUse,
    /// The frame has as many uses as can be counted.
    Overflow,
    /// There is no such frame.
    NoFrame,
}

/// What [`FrameTable::begin_type`] asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// Nothing: the count is taken.
    Held,
    /// Check the contents; the count is one.
    Validate,
    /// Go on checking the contents from this state; the count is one, and the state's own reference is
    /// now the caller's to give back.
    Resume(Partial),
}

/// What [`FrameTable::begin_release`] asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Released {
    /// Nothing: the count is given back.
    Done,
    /// It was the last use of a page table: release its entries, then end the type.
    Invalidate,
}

impl FrameTable {
    /// Takes a use as writable. The caller holds a reference.
    #[inline]
    pub fn get_writable(&mut self, tlb: &impl Tlb, frame: Mfn) -> Result<(), TypeError> {
        let info = self.frame_mut(frame).ok_or(TypeError::NoFrame)?;
        if info.kind == FrameType::Writable && info.type_count.wrapping_sub(1) < COUNT_LIMIT - 1 {
            info.type_count += 1;
            return Ok(());
        }
        self.begin_type(tlb, frame, FrameType::Writable).map(|_| ())
    }

    /// Gives a use as writable back. The caller still holds a reference.
    #[inline]
    pub fn put_writable(&mut self, tlb: &impl Tlb, frame: Mfn) {
        let Some(info) = self.frame_mut(frame) else { return };
        debug_assert!(info.is_in_use_as(FrameType::Writable), "{frame} is not in use as writable: {info:?}");
        if info.type_count > 1 {
            info.type_count -= 1;
        } else if info.type_count == 1 {
            self.end_type(tlb, frame);
        }
    }

    /// Gives a use as a page of descriptors back. The caller still holds a reference.
    pub fn put_segdesc(&mut self, tlb: &impl Tlb, frame: Mfn) {
        let Some(info) = self.frame_mut(frame) else { return };
        debug_assert!(info.is_in_use_as(FrameType::SegDesc), "{frame} holds no descriptors: {info:?}");
        if info.type_count > 1 {
            info.type_count -= 1;
        } else if info.type_count == 1 {
            self.end_type(tlb, frame);
        }
    }

    /// Takes a use as `kind`, changing the type when the frame has no use. Whatever the CPUs may still
    /// hold from its former type is flushed before the new one shows (XSA-401).
    pub(crate) fn begin_type(
        &mut self,
        tlb: &impl Tlb,
        frame: Mfn,
        kind: FrameType,
    ) -> Result<Begun, TypeError> {
        let info = self.frame_mut(frame).ok_or(TypeError::NoFrame)?;
        if info.type_count == 0 {
            if info.kind != kind && info.kind != FrameType::None {
                tlb.flush_stale(info.stamp);
            }
            info.kind = kind;
            info.type_count = 1;
            if kind == FrameType::Writable {
                info.flags |= FrameInfo::VALIDATED;
                return Ok(Begun::Held);
            }
            info.flags &= !FrameInfo::VALIDATED;
            return Ok(Begun::Validate);
        }
        if info.kind != kind {
            return Err(TypeError::InUse);
        }
        if let Some(partial) = info.partial() {
            info.flags &= !(FrameInfo::PARTIAL | FrameInfo::CHILD | FrameInfo::DOWN);
            return Ok(Begun::Resume(partial));
        }
        if !info.validated() {
            // Being validated by a caller further up: a table that contains itself. No level names its
            // own, so this is not reached; refusing is right in any case.
            return Err(TypeError::InUse);
        }
        if info.type_count >= COUNT_LIMIT {
            return Err(TypeError::Overflow);
        }
        info.type_count += 1;
        Ok(Begun::Held)
    }

    /// The contents were checked: the one use counts.
    pub(crate) fn finish_validation(&mut self, frame: Mfn) {
        if let Some(info) = self.frame_mut(frame) {
            debug_assert!(info.type_count == 1 && info.partial().is_none(), "{frame}: {info:?}");
            info.flags |= FrameInfo::VALIDATED;
        }
    }

    /// The contents were refused and no entry holds anything: the frame has no type.
    pub(crate) fn abandon_validation(&mut self, frame: Mfn) {
        if let Some(info) = self.frame_mut(frame) {
            debug_assert!(info.type_count == 1 && !info.validated(), "{frame}: {info:?}");
            info.type_count = 0;
            info.kind = FrameType::None;
        }
    }

    /// Leaves a page table, whose count is one and which is neither valid nor partial, in a partial
    /// state. The state's own reference is taken here, unless the caller hands on the one of the state it
    /// resumed.
    pub(crate) fn park(&mut self, frame: Mfn, state: Partial, hands_on_ref: bool) {
        if !hands_on_ref {
            self.get_ref_held(frame);
        }
        if let Some(info) = self.frame_mut(frame) {
            debug_assert!(
                info.type_count == 1 && !info.validated() && info.partial().is_none(),
                "{frame}: {info:?}"
            );
            info.partial_index = state.index;
            info.flags |= FrameInfo::PARTIAL;
            if state.child {
                info.flags |= FrameInfo::CHILD;
            }
            if state.direction == Direction::Down {
                info.flags |= FrameInfo::DOWN;
            }
        }
    }

    /// Takes a frame out of its partial state to release its entries; the count stays one and the state's
    /// own reference is now the caller's. None when it is in no partial state.
    pub(crate) fn unpark(&mut self, frame: Mfn) -> Option<Partial> {
        let info = self.frame_mut(frame)?;
        let partial = info.partial()?;
        info.flags &= !(FrameInfo::PARTIAL | FrameInfo::CHILD | FrameInfo::DOWN);
        Some(partial)
    }

    /// Gives back a use of a page table.
    pub(crate) fn begin_release(&mut self, frame: Mfn) -> Released {
        let Some(info) = self.frame_mut(frame) else { return Released::Done };
        debug_assert!(info.type_count > 0 && info.validated(), "{frame}: {info:?}");
        if info.type_count > 1 {
            info.type_count -= 1;
            return Released::Done;
        }
        info.flags &= !FrameInfo::VALIDATED;
        Released::Invalidate
    }

    /// The last use ended and no entry holds anything any more.
    pub(crate) fn end_type(&mut self, tlb: &impl Tlb, frame: Mfn) {
        let now = tlb.flush_clock();
        if let Some(info) = self.frame_mut(frame) {
            debug_assert!(info.type_count == 1 && info.partial().is_none(), "{frame}: {info:?}");
            info.type_count = 0;
            info.flags &= !FrameInfo::VALIDATED;
            info.stamp = now;
        }
    }

    /// Marks a table pinned, for which the caller holds a reference and a use. False when it was.
    pub(crate) fn pin(&mut self, frame: Mfn) -> bool {
        match self.frame_mut(frame) {
            Some(info) if !info.pinned() => {
                info.flags |= FrameInfo::PINNED;
                true
            }
            _ => false,
        }
    }

    /// Takes the pin off; its reference and use are now the caller's. False when there was none.
    pub(crate) fn unpin(&mut self, frame: Mfn) -> bool {
        match self.frame_mut(frame) {
            Some(info) if info.pinned() => {
                info.flags &= !FrameInfo::PINNED;
                true
            }
            _ => false,
        }
    }
}
