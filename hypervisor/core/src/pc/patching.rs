//! Before a PC starts: the sensitive instructions that its kernel lists are replaced by ones that trap.
//!
//! The list, and what it names, are the kernel's words. All of it is looked for in the image alone, as the builder has laid
//! it out: a site elsewhere is one that cannot be reached. Nothing runs yet, so nothing changes meanwhile.

use super::linear::Frames;
use super::memory::PcMemory;
use crate::addr::{DomainId, PAGE_SIZE};
use crate::build::elf::KernelNotes;
use crate::build::pc::{SiteList, physical};
use crate::flush::Tlb;
use crate::frame::FrameTable;
use crate::full::{GuestLinear, PageFault, PatchTable, Privilege, SITE_SIZE, read_sites};
use crate::memory::Memory;

/// Sites looked at in one bounded step.
const SITES_A_STEP: usize = 64;

/// Where the image lies.
#[derive(Clone, Copy, Debug)]
struct Image {
    /// Virtual addresses.
    start: u64,
    end: u64,
    /// The guest-physical address of the start.
    physical: u64,
}

/// A kernel's list, worked through step by step.
#[derive(Debug)]
pub(crate) struct Patching {
    image: Image,
    list: Option<SiteList>,
    table: PatchTable,
}

impl Patching {
    /// Nothing has been patched. Without a list, nothing will be.
    pub(crate) fn new(notes: &KernelNotes, list: Option<SiteList>) -> Self {
        let (start, end) = (notes.virt_start, notes.virt_end);
        let image = Image { start, end, physical: physical(notes, start) };
        Self { image, list, table: PatchTable::new() }
    }

    /// Patches some more sites, and says of each what became of it. Whether that was all.
    pub(crate) fn step<M: Memory + Tlb>(
        &mut self,
        frames: &FrameTable,
        machine: &M,
        domain: DomainId,
        memory: &PcMemory,
    ) -> bool {
        let Self { image, list, table } = self;
        let Some(SiteList { address, count }) = list else { return true };
        let some = (*count).min(SITES_A_STEP);
        let mut memory =
            Loaded { image: *image, frames: Frames { frames, machine, domain, memory, root: None } };
        match read_sites(&mut memory, *address, some) {
            Ok(sites) => table.install(&mut memory, &sites, |site, result| match result {
                Ok(patch) => log::info!("{domain}: patched {patch}"),
                Err(why) => log::warn!("{domain}: not patched at {:#x}: {why}", site.address),
            }),
            Err(why) => log::warn!("{domain}: the list of sites at {address:#x}: {why}"),
        }
        (*address, *count) = (*address + some as u64 * SITE_SIZE, *count - some);
        *count == 0
    }

    /// What was patched.
    pub(crate) fn done(self) -> PatchTable {
        self.table
    }
}

/// An image in the memory that it was loaded into, at its virtual addresses.
struct Loaded<'a, M> {
    image: Image,
    frames: Frames<'a, M>,
}

impl<M: Memory + Tlb> Loaded<'_, M> {
    /// Has something done with each piece of a range that lies in one page: its guest-physical address, and which bytes of
    /// the range it is. Nothing is done if the range leaves the image.
    fn pieces(
        &self,
        address: u64,
        length: usize,
        mut what: impl FnMut(u64, core::ops::Range<usize>),
    ) -> Result<(), PageFault> {
        let Image { start, end, physical } = self.image;
        let offset =
            address.checked_sub(start).filter(|_| address < end).ok_or(PageFault { address, code: 0 })?;
        if end - address < length as u64 {
            return Err(PageFault { address: end, code: 0 });
        }
        let mut done = 0;
        while done < length {
            let at = physical.wrapping_add(offset).wrapping_add(done as u64);
            let count = (PAGE_SIZE - at as usize % PAGE_SIZE).min(length - done);
            what(at, done..done + count);
            done += count;
        }
        Ok(())
    }
}

/// To the loader all of the image is writable.
impl<M: Memory + Tlb> GuestLinear for Loaded<'_, M> {
    fn read(&mut self, address: u64, bytes: &mut [u8], _: Privilege) -> Result<(), PageFault> {
        self.pieces(address, bytes.len(), |at, range| self.frames.read_bytes(at, &mut bytes[range]))
    }

    fn write(&mut self, address: u64, bytes: &[u8], _: Privilege) -> Result<(), PageFault> {
        self.pieces(address, bytes.len(), |at, range| self.frames.write_bytes(at, &bytes[range]))
    }

    fn writable(&mut self, address: u64, length: usize, _: Privilege) -> Result<(), PageFault> {
        self.pieces(address, length, |_, _| {})
    }

    fn fetch(&mut self, address: u64, bytes: &mut [u8], privilege: Privilege) -> Result<usize, PageFault> {
        self.read(address, bytes, privilege).map(|()| bytes.len())
    }
}
