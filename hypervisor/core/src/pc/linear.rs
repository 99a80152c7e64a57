//! A PC's memory as the guest sees it: physical addresses, and linear ones by its own page tables.

use arrayvec::ArrayVec;

use super::memory::PcMemory;
use super::tables::ShadowFrames;
use crate::addr::{DomainId, Mfn, PAGE_SHIFT, PAGE_SIZE, Pfn, VirtAddr};
use crate::flush::{Flush, Tlb};
use crate::frame::FrameTable;
use crate::full::{GuestLinear, PageFault, Privilege};
use crate::guest_memory::{Access, Fault};
use crate::memory::Memory;
use crate::shadow::{Physical, Refusal, Shadow, Tables, Use};

/// The frames behind a PC's physical addresses, and those of its shadow tables.
pub(super) struct Frames<'a, M> {
    pub frames: &'a FrameTable,
    pub machine: &'a M,
    pub domain: DomainId,
    pub memory: &'a PcMemory,
    /// The root that processors run on copies of.
    pub root: Option<Mfn>,
}

impl<M: Memory + Tlb> Frames<'_, M> {
    fn place(&self, address: u64) -> Option<(Mfn, usize)> {
        let frame = self.memory.frame(address >> PAGE_SHIFT)?;
        Some((frame, address as usize % PAGE_SIZE))
    }

    fn tables(&self) -> ShadowFrames<'_, M> {
        let root = self.root.map(|root| (self.domain, root));
        ShadowFrames { frames: self.frames, machine: self.machine, root }
    }

    /// Copies bytes of one page out.
    pub fn read_bytes(&self, address: u64, bytes: &mut [u8]) {
        match self.place(address) {
            Some((frame, offset)) => self.machine.read_bytes(frame, offset, bytes),
            // As a bus on which nobody answers.
            None => bytes.fill(0xff),
        }
    }

    /// Copies bytes into one page.
    pub fn write_bytes(&self, address: u64, bytes: &[u8]) {
        if let Some((frame, offset)) = self.place(address)
            && let Some(writer) = self.frames.writable(frame, self.domain)
        {
            self.machine.write_bytes(&writer, offset, bytes);
        }
    }
}

impl<M: Memory + Tlb> Physical for Frames<'_, M> {
    fn read(&self, address: u64) -> Option<u64> {
        let (frame, offset) = self.place(address)?;
        Some(self.machine.read_word(frame, offset / 8))
    }

    fn compare_exchange(&self, address: u64, expected: u64, new: u64) -> bool {
        let Some((frame, offset)) = self.place(address) else { return false };
        let Some(writer) = self.frames.writable(frame, self.domain) else { return false };
        self.machine.compare_exchange_word(&writer, offset / 8, expected, new).is_ok()
    }

    fn frame(&self, pfn: Pfn) -> Option<Mfn> {
        self.memory.frame(pfn.get())
    }
}

impl<M: Memory + Tlb> Tables for Frames<'_, M> {
    fn entry(&self, table: Mfn, slot: usize) -> u64 {
        self.tables().entry(table, slot)
    }

    fn set_entry(&self, table: Mfn, slot: usize, entry: u64) {
        self.tables().set_entry(table, slot, entry);
    }

    fn clear(&self, table: Mfn) {
        self.tables().clear(table);
    }
}

/// The memory of a PC by its own tables.
pub(super) struct Linear<'a, M> {
    pub frames: Frames<'a, M>,
    pub shadow: &'a mut Shadow,
}

/// Attempts at a walk whose entries keep changing.
const WALKS: usize = 8;

impl<M: Memory + Tlb> Linear<'_, M> {
    /// The physical address behind a linear one, with the marks that the access leaves.
    fn translate(&self, address: u64, access: Access, privilege: Privilege) -> Result<u64, PageFault> {
        let usage = Use { access, user: privilege == Privilege::User };
        let contended = match access {
            Access::Write => Fault::WRITE,
            Access::Read | Access::Fetch => 0,
        };
        let page = VirtAddr::new(address).ok_or(PageFault { address, code: contended })?;
        for _ in 0..WALKS {
            match self.shadow.access(&self.frames, page, usage) {
                Ok(translation) => return Ok(translation.address),
                Err(Refusal::Fault(code)) => return Err(PageFault { address, code }),
                Err(Refusal::Contended) => {}
            }
        }
        Err(PageFault { address, code: contended })
    }

    /// The pieces of a range, page by page: physical address and bytes.
    fn pieces(
        &self,
        address: u64,
        length: usize,
        access: Access,
        privilege: Privilege,
    ) -> Result<ArrayVec<(u64, usize), 2>, PageFault> {
        let mut pieces = ArrayVec::new();
        let mut done = 0;
        while done < length {
            let at = address.wrapping_add(done as u64);
            let count = (PAGE_SIZE - at as usize % PAGE_SIZE).min(length - done);
            let physical = self.translate(at, access, privilege)?;
            if pieces.try_push((physical, count)).is_err() {
                break;
            }
            done += count;
        }
        Ok(pieces)
    }

    /// Writes within a page, and tells the shadow of it where it may be a page table.
    fn store(&mut self, address: u64, bytes: &[u8]) {
        let pfn = Pfn::new(address >> PAGE_SHIFT);
        if !self.shadow.is_traced(pfn) {
            return self.frames.write_bytes(address, bytes);
        }
        let first = address & !7;
        let words = ((address + bytes.len() as u64).div_ceil(8) - first / 8) as usize;
        let place = |index: usize| first + index as u64 * 8;
        let before: ArrayVec<u64, { PAGE_SIZE / 8 }> =
            (0..words).map(|index| self.frames.read(place(index)).unwrap_or(0)).collect();
        self.frames.write_bytes(address, bytes);
        for (index, old) in before.into_iter().enumerate() {
            let new = self.frames.read(place(index)).unwrap_or(0);
            let flush: Flush = self.shadow.guest_wrote(&self.frames, place(index), old, new);
            flush.discharge(self.frames.machine, self.frames.domain);
        }
    }
}

impl<M: Memory + Tlb> GuestLinear for Linear<'_, M> {
    fn read(&mut self, address: u64, bytes: &mut [u8], privilege: Privilege) -> Result<(), PageFault> {
        let pieces = self.pieces(address, bytes.len(), Access::Read, privilege)?;
        let mut rest = bytes;
        for (physical, count) in pieces {
            let (piece, after) = rest.split_at_mut(count);
            self.frames.read_bytes(physical, piece);
            rest = after;
        }
        Ok(())
    }

    fn write(&mut self, address: u64, bytes: &[u8], privilege: Privilege) -> Result<(), PageFault> {
        let pieces = self.pieces(address, bytes.len(), Access::Write, privilege)?;
        let mut rest = bytes;
        for (physical, count) in pieces {
            let (piece, after) = rest.split_at(count);
            self.store(physical, piece);
            rest = after;
        }
        Ok(())
    }

    fn writable(&mut self, address: u64, length: usize, privilege: Privilege) -> Result<(), PageFault> {
        self.pieces(address, length, Access::Write, privilege).map(drop)
    }

    fn fetch(&mut self, address: u64, bytes: &mut [u8], privilege: Privilege) -> Result<usize, PageFault> {
        let count = (PAGE_SIZE - address as usize % PAGE_SIZE).min(bytes.len());
        let physical = self.translate(address, Access::Fetch, privilege)?;
        self.frames.read_bytes(physical, &mut bytes[..count]);
        let rest = &mut bytes[count..];
        if rest.is_empty() {
            return Ok(count);
        }
        match self.translate(address.wrapping_add(count as u64), Access::Fetch, privilege) {
            Ok(physical) => {
                self.frames.read_bytes(physical, rest);
                Ok(bytes.len())
            }
            Err(_) => Ok(count),
        }
    }
}
