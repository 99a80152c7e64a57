//! Reaching a guest's memory by its own addresses.
//!
//! A guest address is a claim. It is checked by walking the guest's page tables in software, as its CPU
//! would (reserved range, P, US as the ring demands, RW for writes, NX for fetches, A and D set), from an
//! L4 that a vcpu holds. Then the frame is read or written through the frame table: reading asks that the
//! frame is the domain's or one that was lent, writing that it is in use as writable, so a wrong table could at
//! worst make the guest write pages that it or its neighbours write anyway. The borrow of the frame table holds
//! the frame meanwhile.
//!
//! Copy arguments once, then parse the copy: the guest's other vcpus may write the page at any time.

mod report;
#[cfg(test)]
mod tests;
mod walk;

pub use report::{WalkLine, WalkReport};
pub use walk::{Access, LeafSlot};

use crate::addr::{DomainId, Mfn, PAGE_SIZE, VirtAddr};
use crate::flush::Tlb;
use crate::frame::FrameTable;
use crate::memory::Memory;
use paravane_abi::errno::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// A guest address could not be used: what a page fault would say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The first address that failed.
    pub address: u64,
    /// The page-fault error code (SDM vol. 3, 4.7).
    pub code: u32,
}

impl Fault {
    /// Error code bit 0: the page is present, the access was not allowed.
    pub const PRESENT: u32 = 1 << 0;
    /// Error code bit 1: a write.
    pub const WRITE: u32 = 1 << 1;
    /// Error code bit 2: from ring 3.
    pub const USER: u32 = 1 << 2;
    /// Error code bit 4: an instruction fetch.
    pub const FETCH: u32 = 1 << 4;
}

impl From<Fault> for Errno {
    fn from(_: Fault) -> Self {
        Self::EFAULT
    }
}

/// A guest's memory as seen through one of its L4 tables.
#[derive(Debug)]
pub struct GuestMemory<'a, M> {
    pub(crate) frames: &'a FrameTable,
    pub(crate) machine: &'a M,
    pub(crate) domain: DomainId,
    pub(crate) root: Mfn,
    pub(crate) user: bool,
}

impl<M> Clone for GuestMemory<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for GuestMemory<'_, M> {}

impl<'a, M: Memory + Tlb> GuestMemory<'a, M> {
    /// The view of a guest kernel: `root` is an L4 that a vcpu of `domain` has as its base.
    #[inline]
    pub fn kernel(frames: &'a FrameTable, machine: &'a M, domain: DomainId, root: Mfn) -> Self {
        Self { frames, machine, domain, root, user: false }
    }

    /// The view from ring 3, where US must be set at every level.
    #[inline]
    pub fn user(frames: &'a FrameTable, machine: &'a M, domain: DomainId, root: Mfn) -> Self {
        Self { frames, machine, domain, root, user: true }
    }

    /// Copies bytes out of the guest. After a fault the first bytes may have been copied.
    #[inline]
    pub fn copy_from_guest(&self, address: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        self.copy_in(address, bytes, Access::Read)
    }

    /// Copies instruction bytes out of the guest.
    pub fn fetch(&self, address: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        self.copy_in(address, bytes, Access::Fetch)
    }

    #[inline]
    fn copy_in(&self, address: u64, bytes: &mut [u8], access: Access) -> Result<(), Fault> {
        let offset = (address as usize) & (PAGE_SIZE - 1);
        if bytes.len() <= PAGE_SIZE - offset {
            if !bytes.is_empty() {
                self.machine.read_bytes(self.readable(address, access)?, offset, bytes);
            }
            return Ok(());
        }
        self.copy_in_pages(address, bytes, access)
    }

    #[cold]
    fn copy_in_pages(&self, address: u64, bytes: &mut [u8], access: Access) -> Result<(), Fault> {
        let mut at = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = (at as usize) & (PAGE_SIZE - 1);
            let (now, later) = rest.split_at_mut(rest.len().min(PAGE_SIZE - offset));
            self.machine.read_bytes(self.readable(at, access)?, offset, now);
            at = at.wrapping_add(now.len() as u64);
            rest = later;
        }
        Ok(())
    }

    /// Copies bytes into the guest. After a fault the first bytes may have been copied.
    #[inline]
    pub fn copy_to_guest(&self, address: u64, bytes: &[u8]) -> Result<(), Fault> {
        let offset = (address as usize) & (PAGE_SIZE - 1);
        if bytes.len() <= PAGE_SIZE - offset {
            return if bytes.is_empty() { Ok(()) } else { self.write_in_page(address, offset, bytes) };
        }
        self.copy_out_pages(address, bytes)
    }

    #[cold]
    fn copy_out_pages(&self, address: u64, bytes: &[u8]) -> Result<(), Fault> {
        let mut at = address;
        let mut rest = bytes;
        while !rest.is_empty() {
            let offset = (at as usize) & (PAGE_SIZE - 1);
            let (now, later) = rest.split_at(rest.len().min(PAGE_SIZE - offset));
            self.write_in_page(at, offset, now)?;
            at = at.wrapping_add(now.len() as u64);
            rest = later;
        }
        Ok(())
    }

    #[inline]
    fn write_in_page(&self, address: u64, offset: usize, bytes: &[u8]) -> Result<(), Fault> {
        let frame = self.frame_of(address, Access::Write)?;
        match self.frames.mapped_writable(frame, self.domain) {
            Some(writer) => {
                self.machine.write_bytes(&writer, offset, bytes);
                Ok(())
            }
            None => Err(self.fault(address, Access::Write, Fault::PRESENT)),
        }
    }

    /// The frame of a readable address; it is the domain's or lent to it, or the walk would not count.
    #[inline]
    fn readable(&self, address: u64, access: Access) -> Result<Mfn, Fault> {
        let frame = self.frame_of(address, access)?;
        if self.frames.is_mappable_by(frame, self.domain) {
            Ok(frame)
        } else {
            Err(self.fault(address, access, Fault::PRESENT))
        }
    }

    /// Reads an aligned word in one access.
    #[inline]
    pub fn read_u64(&self, address: u64) -> Result<u64, Fault> {
        if address & 7 != 0 {
            return self.read(address);
        }
        let frame = self.readable(address, Access::Read)?;
        Ok(self.machine.read_word(frame, word_index(address)))
    }

    /// Writes an aligned word in one access.
    #[inline]
    pub fn write_u64(&self, address: u64, value: u64) -> Result<(), Fault> {
        if address & 7 != 0 {
            return self.copy_to_guest(address, &value.to_le_bytes());
        }
        let frame = self.frame_of(address, Access::Write)?;
        match self.frames.mapped_writable(frame, self.domain) {
            Some(writer) => {
                self.machine.write_word(&writer, word_index(address), value);
                Ok(())
            }
            None => Err(self.fault(address, Access::Write, Fault::PRESENT)),
        }
    }

    /// Reads a value.
    #[inline]
    pub fn read<T: FromBytes + IntoBytes>(&self, address: u64) -> Result<T, Fault> {
        let mut value = T::new_zeroed();
        self.copy_from_guest(address, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Reads a value from a frame that [`Self::translate`] named, if it is the domain's or lent to it.
    #[inline]
    pub(crate) fn read_frame<T: FromBytes + IntoBytes>(&self, frame: Mfn, offset: usize) -> Option<T> {
        if !self.frames.is_mappable_by(frame, self.domain) {
            return None;
        }
        let mut value = T::new_zeroed();
        self.machine.read_bytes(frame, offset, value.as_mut_bytes());
        Some(value)
    }

    /// Writes a value.
    #[inline]
    pub fn write<T: IntoBytes + Immutable>(&self, address: u64, value: &T) -> Result<(), Fault> {
        self.copy_to_guest(address, value.as_bytes())
    }

    /// Reads element `index` of an array at `address`.
    #[inline]
    pub fn read_element<T: FromBytes + IntoBytes>(&self, address: u64, index: u64) -> Result<T, Fault> {
        self.read(element_address(
            address,
            index,
            size_of::<T>(),
            Fault::default_code(Access::Read, self.user),
        )?)
    }

    /// Writes element `index` of an array at `address`.
    #[inline]
    pub fn write_element<T: IntoBytes + Immutable>(
        &self,
        address: u64,
        index: u64,
        value: &T,
    ) -> Result<(), Fault> {
        let code = Fault::default_code(Access::Write, self.user);
        self.write(element_address(address, index, size_of::<T>(), code)?, value)
    }

    /// Reads as many consecutive elements as `values` has.
    pub fn read_slice<T: FromBytes + IntoBytes>(&self, address: u64, values: &mut [T]) -> Result<(), Fault> {
        self.copy_from_guest(address, values.as_mut_bytes())
    }

    /// Writes consecutive elements.
    pub fn write_slice<T: IntoBytes + Immutable>(&self, address: u64, values: &[T]) -> Result<(), Fault> {
        self.copy_to_guest(address, values.as_bytes())
    }

    /// Checks that an array begins where a guest may have memory, without touching it (what Xen's calls do before their
    /// first element, even if there is none). Where it ends, its elements tell.
    pub fn check_array(&self, address: u64, count: u64, size: usize) -> Result<(), Fault> {
        if VirtAddr::is_guest(address) && count.checked_mul(size as u64).is_some() {
            Ok(())
        } else {
            Err(Fault { address, code: Fault::default_code(Access::Read, self.user) })
        }
    }

    #[inline]
    fn fault(&self, address: u64, access: Access, bits: u32) -> Fault {
        Fault { address, code: Fault::default_code(access, self.user) | bits }
    }
}

impl Fault {
    #[inline]
    const fn default_code(access: Access, user: bool) -> u32 {
        let access = match access {
            Access::Read => 0,
            Access::Write => Self::WRITE,
            Access::Fetch => Self::FETCH,
        };
        access | if user { Self::USER } else { 0 }
    }
}

#[inline]
const fn word_index(address: u64) -> usize {
    (address as usize & (PAGE_SIZE - 1)) >> 3
}

/// The address of an array element; no element lies where the sum would wrap.
#[inline]
fn element_address(address: u64, index: u64, size: usize, code: u32) -> Result<u64, Fault> {
    index
        .checked_mul(size as u64)
        .and_then(|offset| address.checked_add(offset))
        .ok_or(Fault { address, code })
}
