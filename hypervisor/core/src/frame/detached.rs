//! Frames between two owners, while extents are exchanged.

use super::{END, FrameInfo, FrameTable, FrameWriter, Owner};
use crate::addr::{DomainId, Mfn};
use crate::flush::Tlb;
use crate::memory::Memory;

/// Extents that are nobody's for the moment, in order. They are linked in their frames' records, so it takes no memory to
/// remember them; all must have found an owner, or be freed, before a guest runs again.
#[must_use = "the frames would be lost"]
#[derive(Debug)]
pub(crate) struct Detached {
    first: u32,
    last: u32,
}

impl Default for Detached {
    fn default() -> Self {
        Self { first: END, last: END }
    }
}

impl FrameTable {
    fn append(&mut self, list: &mut Detached, frame: Mfn) {
        let index = frame.index() as u32;
        match self.frames.get_mut(list.last as usize) {
            Some(last) => last.next = index,
            None => list.first = index,
        }
        self.frames[frame.index()].next = END;
        list.last = index;
    }

    fn take_first(&mut self, list: &mut Detached) -> Option<Mfn> {
        let index = list.first;
        let info = self.frames.get_mut(index as usize)?;
        list.first = info.next;
        info.next = END;
        if list.first == END {
            list.last = END;
        }
        Some(Mfn::new(index.into()))
    }

    /// Takes a frame from a domain that does not use it. False when it is not the domain's, or is used. The account goes
    /// on counting it: what comes in return takes its place.
    pub(crate) fn detach(&mut self, frame: Mfn, domain: DomainId, list: &mut Detached) -> bool {
        if !self.is_unused(frame, domain) {
            return false;
        }
        // Its type and stamp stay: what it was before decides what is flushed before it becomes something else.
        let info = &mut self.frames[frame.index()];
        info.owner = Owner::Hypervisor;
        info.flags &= !FrameInfo::ALLOCATED;
        self.append(list, frame);
        true
    }

    /// Allocates an extent, filled with zeros, to nobody yet. False when there is none.
    pub(crate) fn alloc_detached(
        &mut self,
        machine: &(impl Memory + Tlb),
        order: u32,
        bits: u32,
        list: &mut Detached,
    ) -> bool {
        let Some(first) = self.pop_free(machine, Owner::Hypervisor, 0, order, bits) else { return false };
        for index in 0..1 << order {
            machine.zero(&FrameWriter::of_unused(self, Mfn::new(first.get() + index)));
        }
        self.append(list, first);
        true
    }

    /// Gives the first extent of a list to a domain, whose account counts it already.
    pub(crate) fn reattach_one(&mut self, domain: DomainId, list: &mut Detached, order: u32) -> Option<Mfn> {
        let first = self.take_first(list)?;
        for info in &mut self.frames[first.index()..first.index() + (1 << order)] {
            info.owner = Owner::Domain(domain);
            info.flags |= FrameInfo::ALLOCATED;
        }
        Some(first)
    }

    /// Gives all extents of a list to a domain, whose account counts them already.
    pub(crate) fn reattach(&mut self, domain: DomainId, mut list: Detached, order: u32) {
        while self.reattach_one(domain, &mut list, order).is_some() {}
    }

    /// Frees all extents of a list.
    pub(crate) fn free_detached(&mut self, machine: &(impl Memory + Tlb), mut list: Detached, order: u32) {
        while let Some(first) = self.take_first(&mut list) {
            (0..1 << order).for_each(|index| self.put_ref(machine, Mfn::new(first.get() + index)));
        }
    }
}
