//! The frame table: whose each machine frame is, how many references it has, what it is used as.
//!
//! Two counts per frame keep guests apart. The *reference count* keeps a frame from being freed while
//! anything names it. The *type count* keeps it from being two things at once: a page table, a page of
//! segment descriptors, or a page its owner may write. A guest that can write a page table's entries
//! itself owns the machine; the type count is what stops it.
//!
//! Concurrency: every method that changes something takes `&mut self`. The caller keeps the table behind
//! one lock, together with the paging operations that use it, and holds it for a whole operation. Guests
//! running on other CPUs meanwhile change accessed and dirty bits of tables and the contents of writable
//! frames, nothing else.

mod detached;
mod free;
mod info;
mod refs;
#[cfg(test)]
mod tests;
mod types;
mod writer;

pub(crate) use detached::Detached;
pub use free::MAX_ORDER;
pub use info::{Direction, FrameInfo, FrameType, Owner, Partial};
pub use refs::RefError;
pub use types::TypeError;
pub(crate) use types::{Begun, Released};
pub use writer::FrameWriter;

use crate::addr::{DomainId, Mfn};
use crate::flush::Tlb;
use crate::memory::Memory;
use alloc::vec::Vec;
use core::ops::Range;
use free::FreeLists;

/// End of a list of free blocks.
const END: u32 = u32::MAX;
/// No limit to where frames lie.
pub const ANYWHERE: u32 = u64::BITS;

/// How many frames a domain has and may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// The domain.
    pub domain: DomainId,
    /// Frames allocated to it (shared pages of the hypervisor's are not counted).
    pub allocated: u64,
    /// How many it may have.
    pub max: u64,
    /// The domain is gone but for frames that others still use.
    pub closing: bool,
}

/// Why no frame was allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocError {
    /// No frame is free.
    OutOfMemory,
    /// The domain has all the frames it may have.
    OverLimit,
    /// No such domain was opened.
    NoDomain,
}

/// The records of all frames. See the module's text for the locking.
#[derive(Debug)]
pub struct FrameTable {
    frames: &'static mut [FrameInfo],
    free: FreeLists,
    accounts: Vec<Account>,
    /// A frame of a closing account was freed since [`Self::take_closing_freed`] was last asked.
    closing_freed: bool,
}

impl FrameTable {
    /// A table over `storage`, record N being that of frame N. Every frame counts as no RAM until
    /// [`Self::add_ram`] or [`Self::add_hypervisor`] names it.
    ///
    /// # Panics
    /// If there are more than 2^32 - 2 records (16 TiB of address space).
    pub fn new(storage: &'static mut [FrameInfo]) -> Self {
        assert!(storage.len() < END as usize, "frame numbers must fit the free list's links");
        storage.fill(FrameInfo::NOT_RAM);
        Self { frames: storage, free: FreeLists::EMPTY, accounts: Vec::new(), closing_freed: false }
    }

    /// Gives the storage back.
    pub fn into_storage(self) -> &'static mut [FrameInfo] {
        self.frames
    }

    /// Makes RAM available for allocation. Frames that already have an owner, or lie past the end of the
    /// table, are left alone, so reserve with [`Self::add_hypervisor`] first.
    pub fn add_ram(&mut self, range: Range<Mfn>) {
        let end = range.end.index().min(self.frames.len());
        // From the top down, so that the list hands out low frames first.
        for index in (range.start.index()..end).rev() {
            if self.frames[index].owner == Owner::NotRam {
                self.push_free(index, 0);
            }
        }
    }

    /// Names frames the hypervisor itself uses for good: its image, modules, this table.
    pub fn add_hypervisor(&mut self, range: Range<Mfn>) {
        let end = range.end.index().min(self.frames.len());
        for index in range.start.index()..end {
            let frame = &mut self.frames[index];
            if frame.owner == Owner::NotRam {
                frame.owner = Owner::Hypervisor;
                frame.refs = 1;
                frame.flags = FrameInfo::ALLOCATED;
            }
        }
    }

    /// Makes frames given by [`Self::add_hypervisor`] available for allocation: boot modules after use.
    pub fn release_hypervisor_range(&mut self, machine: &(impl Memory + Tlb), range: Range<Mfn>) {
        let end = range.end.index().min(self.frames.len());
        for index in (range.start.index()..end).rev() {
            if self.frames[index].owner == Owner::Hypervisor {
                self.free_hypervisor(machine, Mfn::new(index as u64));
            }
        }
    }

    /// Number of records.
    #[inline]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Frames on the free list.
    #[inline]
    pub fn free_frames(&self) -> u64 {
        self.free.count
    }

    /// The record of a frame, RAM or not.
    #[inline]
    pub fn info(&self, frame: Mfn) -> Option<&FrameInfo> {
        self.frames.get(frame.index())
    }

    /// Whether a frame is `domain`'s.
    #[inline]
    pub fn is_owned_by(&self, frame: Mfn, domain: DomainId) -> bool {
        self.info(frame).is_some_and(|info| info.owner == Owner::Domain(domain))
    }

    /// Notes that another domain maps a frame by a grant.
    pub(crate) fn mark_lent(&mut self, frame: Mfn) {
        if let Some(info) = self.frame_mut(frame) {
            info.flags |= FrameInfo::LENT;
        }
    }

    /// Whether `domain` may have a frame mapped: it is its own, or another's that was lent.
    #[inline]
    pub(crate) fn is_mappable_by(&self, frame: Mfn, domain: DomainId) -> bool {
        self.info(frame).is_some_and(|info| info.is_mappable_by(domain))
    }

    /// Opens the account of a domain. False when it has one.
    pub fn open_account(&mut self, domain: DomainId, max: u64) -> bool {
        if self.account(domain).is_some() {
            return false;
        }
        self.accounts.push(Account { domain, allocated: 0, max, closing: false });
        true
    }

    /// Closes the account of a domain that has no frame left. False when it has some, or no account.
    pub fn close_account(&mut self, domain: DomainId) -> bool {
        let Some(at) = self.accounts.iter().position(|account| account.domain == domain) else {
            return false;
        };
        if self.accounts[at].allocated != 0 || self.frames.iter().any(|f| f.owner == Owner::Domain(domain)) {
            return false;
        }
        self.accounts.swap_remove(at);
        true
    }

    /// Says that a domain is gone but for frames that others still use: from now on it is noted when one goes.
    pub(crate) fn start_closing(&mut self, domain: DomainId) {
        if let Some(account) = self.account_mut(domain) {
            account.closing = true;
        }
    }

    /// Whether a frame of a closing account was freed since this was last asked.
    #[inline]
    pub(crate) fn take_closing_freed(&mut self) -> bool {
        core::mem::take(&mut self.closing_freed)
    }

    /// The account of a domain.
    pub fn account(&self, domain: DomainId) -> Option<&Account> {
        self.accounts.iter().find(|account| account.domain == domain)
    }

    /// All accounts.
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// Sets how many frames a domain may have. Frames above a lower limit stay.
    pub fn set_max(&mut self, domain: DomainId, max: u64) -> bool {
        self.account_mut(domain).map(|account| account.max = max).is_some()
    }

    fn account_mut(&mut self, domain: DomainId) -> Option<&mut Account> {
        self.accounts.iter_mut().find(|account| account.domain == domain)
    }

    /// Allocates a frame to the hypervisor, filled with zeros.
    pub fn alloc_hypervisor<M: Memory + Tlb>(&mut self, machine: &M) -> Option<Mfn> {
        let frame = self.pop_free(machine, Owner::Hypervisor, FrameInfo::ALLOCATED, 0, ANYWHERE)?;
        let writer = self.hypervisor_writer(frame)?;
        machine.zero(&writer);
        Some(frame)
    }

    /// Frees a frame of the hypervisor's. False when it is none or still referred to.
    pub fn free_hypervisor(&mut self, machine: &(impl Memory + Tlb), frame: Mfn) -> bool {
        let Some(info) = self.frames.get_mut(frame.index()) else { return false };
        if info.owner != Owner::Hypervisor || info.refs != 1 {
            return false;
        }
        info.flags &= !FrameInfo::ALLOCATED;
        self.put_ref(machine, frame);
        true
    }

    /// Allocates a frame to a domain, filled with zeros: nothing of its former owner shows.
    pub fn alloc_domain<M: Memory + Tlb>(
        &mut self,
        machine: &M,
        domain: DomainId,
    ) -> Result<Mfn, AllocError> {
        self.alloc_extent(machine, domain, 0, ANYWHERE)
    }

    /// Allocates 2^`order` contiguous frames to a domain, all of them or none, filled with zeros. They are aligned to
    /// their number and lie below frame 2^`bits`. `order` is at most [`MAX_ORDER`].
    pub fn alloc_extent<M: Memory + Tlb>(
        &mut self,
        machine: &M,
        domain: DomainId,
        order: u32,
        bits: u32,
    ) -> Result<Mfn, AllocError> {
        let count = 1u64.checked_shl(order).ok_or(AllocError::OutOfMemory)?;
        let account = self.account_mut(domain).ok_or(AllocError::NoDomain)?;
        if account.max.saturating_sub(account.allocated) < count {
            return Err(AllocError::OverLimit);
        }
        let first = self
            .pop_free(machine, Owner::Domain(domain), FrameInfo::ALLOCATED, order, bits)
            .ok_or(AllocError::OutOfMemory)?;
        for frame in (first.get()..first.get() + count).map(Mfn::new) {
            machine.zero(&FrameWriter::of_unused(self, frame));
        }
        if let Some(account) = self.account_mut(domain) {
            account.allocated += count;
        }
        Ok(first)
    }

    /// Allocates a page of the hypervisor's that `domain` may map, writable (`shared_info`, rings): it
    /// stays of the writable type, so the guest can make no page table of it. Not counted in the account.
    pub fn alloc_shared<M: Memory + Tlb>(
        &mut self,
        machine: &M,
        domain: DomainId,
    ) -> Result<Mfn, AllocError> {
        self.account(domain).ok_or(AllocError::NoDomain)?;
        let flags = FrameInfo::ALLOCATED | FrameInfo::SHARED | FrameInfo::VALIDATED;
        let frame = self
            .pop_free(machine, Owner::Domain(domain), flags, 0, ANYWHERE)
            .ok_or(AllocError::OutOfMemory)?;
        let info = &mut self.frames[frame.index()];
        info.kind = FrameType::Writable;
        info.type_count = 1;
        machine.zero(&FrameWriter::of_unused(self, frame));
        Ok(frame)
    }

    /// Gives up the allocation of a domain's frame (`XENMEM_decrease_reservation`, teardown): it is freed
    /// when its last other reference goes. False when it is not the domain's, already given up, or a
    /// shared page of the hypervisor's.
    pub fn release_allocation(
        &mut self,
        machine: &(impl Memory + Tlb),
        frame: Mfn,
        domain: DomainId,
    ) -> bool {
        let Some(info) = self.frames.get_mut(frame.index()) else { return false };
        if info.owner != Owner::Domain(domain) || !info.allocated() || info.shared() {
            return false;
        }
        info.flags &= !FrameInfo::ALLOCATED;
        self.put_ref(machine, frame);
        true
    }

    /// Gives up a page made by [`Self::alloc_shared`]: it is freed when the domain's last mapping goes.
    pub fn release_shared(&mut self, machine: &(impl Memory + Tlb), frame: Mfn) -> bool {
        let Some(info) = self.frames.get_mut(frame.index()) else { return false };
        if !info.shared() || !info.allocated() {
            return false;
        }
        info.flags &= !FrameInfo::ALLOCATED;
        self.put_writable(machine, frame);
        self.put_ref(machine, frame);
        true
    }

    /// Whether a frame is `domain`'s and used by nothing: only the allocation refers to it.
    pub fn is_unused(&self, frame: Mfn, domain: DomainId) -> bool {
        self.is_owned_by(frame, domain)
            && self.info(frame).is_some_and(|info| info.allocated() && !info.shared() && info.refs == 1)
    }

    /// Whether a domain may have one frame more, after `giver` has one less.
    pub fn has_headroom(&self, domain: DomainId, giver: DomainId) -> bool {
        let own = u64::from(domain == giver);
        self.account(domain).is_some_and(|account| account.allocated.saturating_sub(own) < account.max)
    }

    /// Makes a frame that nothing uses another domain's, with what is in it. False when it is in use, not
    /// `from`'s, or `to` has no account.
    pub fn give(&mut self, tlb: &impl Tlb, frame: Mfn, from: DomainId, to: DomainId) -> bool {
        if !self.is_unused(frame, from) || self.account(to).is_none() {
            return false;
        }
        // Nobody's CPU may reach the receiver's frame by what it remembers, whatever was mapped or a table once.
        tlb.flush_stale(tlb.flush_clock());
        if let Some(info) = self.frame_mut(frame) {
            info.owner = Owner::Domain(to);
            info.kind = FrameType::None;
            info.flags &= !FrameInfo::LENT;
        }
        if let Some(account) = self.account_mut(from) {
            account.allocated = account.allocated.saturating_sub(1);
        }
        if let Some(account) = self.account_mut(to) {
            account.allocated += 1;
        }
        true
    }

    /// Whether a page made by [`Self::alloc_shared`] is referred to by nothing but its allocation.
    pub fn is_unmapped_shared(&self, frame: Mfn) -> bool {
        self.info(frame).is_some_and(|info| info.shared() && info.allocated() && info.refs == 1)
    }

    /// Takes free frames: 2^`order`, aligned to their number, below 2^`bits`. Each gets a reference.
    fn pop_free(
        &mut self,
        machine: &(impl Memory + Tlb),
        owner: Owner,
        flags: u8,
        order: u32,
        bits: u32,
    ) -> Option<Mfn> {
        let first = self.take_block(order, bits)?;
        let mut stamp = 0;
        for info in &mut self.frames[first..first + (1 << order)] {
            stamp = stamp.max(info.stamp);
            *info = FrameInfo { owner, refs: 1, flags, ..FrameInfo::NOT_RAM };
        }
        // The former owners' CPUs may still have them in their TLBs.
        machine.flush_stale(stamp);
        Some(Mfn::new(first as u64))
    }
}
