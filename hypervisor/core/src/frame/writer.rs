//! The right to write a frame.

use super::{FrameInfo, FrameTable, FrameType, Owner};
use crate::addr::{DomainId, Level, Mfn};
use core::marker::PhantomData;

/// The right to write one frame, made only by the frame table after a check. It borrows the table, so no
/// frame's owner or type can change while it lives.
#[derive(Debug)]
pub struct FrameWriter<'t> {
    frame: Mfn,
    table: PhantomData<&'t FrameTable>,
}

impl<'t> FrameWriter<'t> {
    /// The frame.
    #[inline]
    pub fn frame(&self) -> Mfn {
        self.frame
    }

    #[inline]
    fn new(_table: &'t FrameTable, frame: Mfn) -> Self {
        Self { frame, table: PhantomData }
    }

    /// For the allocator: the frame was just taken from the free list.
    #[inline]
    pub(super) fn of_unused(table: &'t FrameTable, frame: Mfn) -> Self {
        Self::new(table, frame)
    }
}

impl FrameTable {
    /// The right to write a frame of the hypervisor's own: per-CPU roots, entry pages, tables.
    #[inline]
    pub fn hypervisor_writer(&self, frame: Mfn) -> Option<FrameWriter<'_>> {
        let info = self.info(frame)?;
        (info.owner == Owner::Hypervisor).then(|| FrameWriter::new(self, frame))
    }

    /// The right to write a domain's frame that is in use as writable: the guest itself could write what
    /// the caller is about to. To write a frame that has no use yet, take the type first with
    /// [`Self::get_writable`].
    #[inline]
    pub fn writable(&self, frame: Mfn, domain: DomainId) -> Option<FrameWriter<'_>> {
        let info = self.info(frame)?;
        (info.owner == Owner::Domain(domain) && info.kind == FrameType::Writable && info.type_count > 0)
            .then(|| FrameWriter::new(self, frame))
    }

    /// The right to write a frame that a checked page table of `domain`'s maps writable: its own, or one that
    /// another lends it, in use as writable.
    #[inline]
    pub(crate) fn mapped_writable(&self, frame: Mfn, domain: DomainId) -> Option<FrameWriter<'_>> {
        let info = self.info(frame)?;
        (info.is_mappable_by(domain) && info.kind == FrameType::Writable && info.type_count > 0)
            .then(|| FrameWriter::new(self, frame))
    }

    /// The right to write entries of a domain's page table, for the code that checks entries.
    #[inline]
    pub(crate) fn table_writer(&self, frame: Mfn, level: Level) -> Option<FrameWriter<'_>> {
        let info = self.info(frame)?;
        (info.kind == FrameType::table(level) && info.type_count > 0).then(|| FrameWriter::new(self, frame))
    }

    /// The right to write a page of segment descriptors, for the code that checks descriptors.
    #[inline]
    pub(crate) fn segdesc_writer(&self, frame: Mfn) -> Option<FrameWriter<'_>> {
        let info = self.info(frame)?;
        (info.kind == FrameType::SegDesc && info.type_count > 0).then(|| FrameWriter::new(self, frame))
    }

    #[inline]
    pub(super) fn frame_mut(&mut self, frame: Mfn) -> Option<&mut FrameInfo> {
        self.frames.get_mut(frame.index())
    }
}
