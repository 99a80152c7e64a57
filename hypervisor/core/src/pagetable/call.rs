//! The hypercalls: batches of requests in guest memory, interrupted when the budget is spent.
//!
//! An interrupted call is made again with other arguments: the requests not yet done, bit 31 set in the
//! count so that the number already done is added up. When all that is left is to finish the release of a
//! table, the call carries its own result in place of the domain argument (Xen does the same, so guests
//! that look see what they know).

use super::update::How;
use super::{MapOwner, OpError, Paging, Pte};
use crate::addr::{DomainId, Mfn, PAGE_SIZE, Pfn, VirtAddr};
use crate::flush::{Flush, FlushWhat, FlushWho, Tlb};
use crate::guest_memory::{Access, Fault, GuestMemory};
use crate::memory::Memory;
use core::marker::PhantomData;
use paravane_abi::errno::Errno;
use paravane_abi::hypercall::mmu_update::MmuCommand;
use paravane_abi::mmu::{
    DOMID_IO, DOMID_SELF, DOMID_XEN, MmuUpdate, MmuextOp, UVMF_ALL, UVMF_FLUSHTYPE_MASK, UVMF_INVLPG,
    UVMF_LOCAL, UVMF_TLB_FLUSH,
};
use zerocopy::{FromBytes, IntoBytes};

/// The bit of the count that marks a call made again.
pub const MMU_UPDATE_PREEMPTED: u32 = 1 << 31;

/// What a request costs of the budget besides the table entries it makes the hypervisor look at.
const REQUEST_STEPS: u32 = 16;

/// How a call ended.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// With this value for RAX.
    Return(i64),
    /// Not yet: make the call again with these first four arguments, after pending events had their turn.
    Continue([u64; 4]),
}

impl CallOutcome {
    fn of(result: Result<(), Errno>) -> Self {
        Self::Return(result.map_or_else(Errno::to_ret, |()| 0))
    }
}

/// The arguments of a batch.
#[derive(Clone, Copy)]
struct Batch {
    requests: u64,
    count: u32,
    done: u64,
    domain: u32,
}

impl Batch {
    fn again(self) -> CallOutcome {
        CallOutcome::Continue([self.requests, u64::from(self.count), self.done, u64::from(self.domain)])
    }
}

/// Requests in guest memory. Each is copied once and then looked at.
///
/// The page of the latest one is remembered, as a CPU would in its TLB: a batch that changes the mapping
/// of its own requests finds the rest of that page where it was. The frame is still asked for its owner
/// each time.
struct Requests<T> {
    address: u64,
    page: u64,
    frame: Mfn,
    kind: PhantomData<T>,
}

impl<T: FromBytes + IntoBytes> Requests<T> {
    fn new(address: u64) -> Self {
        // No page's address is odd.
        Self { address, page: 1, frame: Mfn::new(0), kind: PhantomData }
    }

    #[inline]
    fn get<M: Memory + Tlb>(&mut self, memory: &GuestMemory<'_, M>, index: u32) -> Result<T, Fault> {
        let address = self.address.wrapping_add(u64::from(index) * size_of::<T>() as u64);
        let offset = address as usize & (PAGE_SIZE - 1);
        if offset > PAGE_SIZE - size_of::<T>() {
            return memory.read(address);
        }
        let page = address - offset as u64;
        if page != self.page {
            self.frame = memory.translate(address, Access::Read)?.1;
            self.page = page;
        }
        memory.read_frame(self.frame, offset).ok_or(Fault { address, code: Fault::PRESENT })
    }
}

impl<M: Memory + Tlb> Paging<'_, M> {
    /// `mmu_update(requests, count, done, domains)`.
    pub fn mmu_update(&mut self, requests: u64, count: u32, done: u64, domains: u32) -> CallOutcome {
        let batch = Batch { requests, count, done, domain: domains };
        // A domain that there is not is refused before any request, one that is another's page or table by page.
        let known = |paging: &mut Self| match paging.table_owner(domains) {
            Err(Errno::ESRCH) => {
                paging.write_done(done, 0);
                Err(Errno::ESRCH)
            }
            _ => Ok(()),
        };
        self.batch(batch, known, |paging, request: MmuUpdate| {
            let owner = paging.table_owner(domains)?;
            paging.update(request, owner)
        })
    }

    /// `mmuext_op(ops, count, done, domain)`.
    pub fn mmuext_op(&mut self, ops: u64, count: u32, done: u64, domain: u32) -> CallOutcome {
        let batch = Batch { requests: ops, count, done, domain };
        // A domain's own pages alone, whatever the operations are: there is nobody here who may do this to others.
        let known = |paging: &mut Self| match paging.page_owner(domain as u16)? {
            MapOwner::Own => Ok(()),
            _ => Err(Errno::EPERM),
        };
        self.batch(batch, known, |paging, op: MmuextOp| {
            let owner = paging.page_owner(domain as u16)?;
            paging.mmuext(&op, owner)
        })
    }

    /// `update_va_mapping(va, entry, flags)`.
    pub fn update_va_mapping(&mut self, va: u64, entry: u64, flags: u64) -> CallOutcome {
        CallOutcome::of(self.map_va(va, entry, flags, MapOwner::Own))
    }

    /// `update_va_mapping_otherdomain(va, entry, flags, domain)`.
    pub fn update_va_mapping_otherdomain(
        &mut self,
        va: u64,
        entry: u64,
        flags: u64,
        domain: u16,
    ) -> CallOutcome {
        // Xen asks whether the caller has power over the domain that owns devices' pages, which `mmu_update` does not.
        let owner = match self.page_owner(domain) {
            Ok(MapOwner::Io) => Err(Errno::EPERM),
            owner => owner,
        };
        CallOutcome::of(owner.and_then(|owner| self.map_va(va, entry, flags, owner)))
    }

    /// Does the requests of a batch, in order, until one is refused or the budget is spent. `known` looks at the domains
    /// that the call names: behind the array's place and before its contents, as Xen does, and so even when it is empty.
    fn batch<T: FromBytes + IntoBytes>(
        &mut self,
        batch: Batch,
        known: impl FnOnce(&mut Self) -> Result<(), Errno>,
        mut perform: impl FnMut(&mut Self, T) -> Result<(), OpError>,
    ) -> CallOutcome {
        if self.finish_pending().is_err() {
            return batch.again();
        }
        if batch.count == MMU_UPDATE_PREEMPTED && batch.requests == 0 {
            return CallOutcome::Return(i64::from(batch.domain as i32));
        }
        let count = batch.count & !MMU_UPDATE_PREEMPTED;
        let before = if batch.count != count { self.read_done(batch.done) } else { 0 };
        let Some(memory) = self.guest_memory() else { return CallOutcome::of(Err(Errno::EFAULT)) };
        if memory.check_array(batch.requests, u64::from(count), size_of::<T>()).is_err() {
            return CallOutcome::of(Err(Errno::EFAULT));
        }
        if let Err(error) = known(self) {
            return CallOutcome::of(Err(error));
        }
        let mut requests = Requests::new(batch.requests);
        let mut performed = 0;
        let mut result = Ok(());
        while performed < count {
            if self.vcpu.pending.is_some() || (performed > 0 && self.budget.spent()) {
                result = Err(OpError::Again);
                break;
            }
            self.budget.charge(REQUEST_STEPS);
            result = match self.guest_memory().map(|memory| requests.get(&memory, performed)) {
                Some(Ok(request)) => perform(self, request),
                Some(Err(_)) | None => Err(OpError::Refused(Errno::EFAULT)),
            };
            if result.is_err() {
                break;
            }
            performed += 1;
        }
        self.write_done(batch.done, before.wrapping_add(performed));
        let value = match result {
            Err(OpError::Again) => {
                let rest = Batch {
                    requests: batch.requests.wrapping_add(u64::from(performed) * size_of::<T>() as u64),
                    count: (count - performed) | MMU_UPDATE_PREEMPTED,
                    ..batch
                };
                return rest.again();
            }
            Err(OpError::Refused(error)) => error.to_ret(),
            Ok(()) => 0,
        };
        if self.vcpu.pending.is_some() {
            let domain = value as i32 as u32;
            return Batch { requests: 0, count: MMU_UPDATE_PREEMPTED, done: 0, domain }.again();
        }
        CallOutcome::Return(value)
    }

    fn read_done(&self, address: u64) -> u32 {
        match self.guest_memory() {
            Some(memory) if address != 0 => memory.read(address).unwrap_or(0),
            _ => 0,
        }
    }

    /// A count that can't be written is the guest's loss, as in Xen.
    fn write_done(&self, address: u64, count: u32) {
        if address != 0
            && let Some(memory) = self.guest_memory()
        {
            let _ = memory.write(address, &count);
        }
    }

    /// Does one request of `mmu_update`. The command is in bits 0 to 2 of the address, as an entry is
    /// 8-byte aligned.
    pub(super) fn update(&mut self, request: MmuUpdate, owner: MapOwner) -> Result<(), OpError> {
        let address = request.ptr & !7;
        let wish = Pte(request.val);
        match MmuCommand::from_number(request.ptr & 7) {
            Some(MmuCommand::NormalPtUpdate | MmuCommand::PtUpdateNoTranslate) => {
                self.update_entry(address, wish, How::Plain, owner)
            }
            Some(MmuCommand::PtUpdatePreserveAd) => self.update_entry(address, wish, How::KeepMarks, owner),
            Some(MmuCommand::MachphysUpdate) if owner == MapOwner::Own => {
                self.update_m2p(Mfn::containing(address), Pfn::new(request.val))
            }
            Some(MmuCommand::MachphysUpdate) => Err(OpError::Refused(Errno::EINVAL)),
            None => Err(OpError::Refused(Errno::ENOSYS)),
        }
    }

    fn map_va(&mut self, va: u64, entry: u64, flags: u64, owner: MapOwner) -> Result<(), Errno> {
        let slot = self.guest_memory().and_then(|memory| memory.leaf_slot(va)).ok_or(Errno::EINVAL)?;
        if !self.frames.is_owned_by(slot.table, self.domain.id) {
            return Err(Errno::EINVAL);
        }
        self.update_l1(slot.table, slot.index, Pte(entry), How::Plain, owner).map_err(|unchanged| {
            match OpError::from(unchanged) {
                OpError::Refused(error) => error,
                OpError::Again => Errno::EAGAIN,
            }
        })?;
        self.va_flush(va, flags)?.discharge(self.machine, self.domain.id);
        Ok(())
    }

    /// The flush that the flags of `update_va_mapping` ask for. The entry is written by now; a bitmap of
    /// vcpus that can't be read is an error all the same, as in Xen.
    fn va_flush(&self, va: u64, flags: u64) -> Result<Flush, Errno> {
        let what = match (flags & UVMF_FLUSHTYPE_MASK, VirtAddr::guest(va)) {
            (UVMF_TLB_FLUSH, _) => FlushWhat::All,
            (UVMF_INVLPG, Some(va)) => FlushWhat::Page(va.page()),
            _ => return Ok(Flush::NONE),
        };
        let who = match flags & !UVMF_FLUSHTYPE_MASK {
            UVMF_LOCAL => FlushWho::ThisCpu,
            UVMF_ALL => FlushWho::Domain,
            bitmap => FlushWho::Vcpus(self.read_vcpus(bitmap)?),
        };
        Ok(Flush { what, who })
    }

    /// Whose pages the low half of a domain argument names. A domain may not name itself by number: Xen
    /// says ESRCH.
    fn page_owner(&self, domain: u16) -> Result<MapOwner, Errno> {
        match domain {
            DOMID_SELF => Ok(MapOwner::Own),
            DOMID_IO => Ok(MapOwner::Io),
            DOMID_XEN => Err(Errno::EPERM),
            other if other != self.domain.id.0 && self.frames.account(DomainId(other)).is_some() => {
                Err(Errno::EPERM)
            }
            _ => Err(Errno::ESRCH),
        }
    }

    /// As [`Self::page_owner`], with the owner of the tables in the high half: 0 for the caller, else one
    /// more than its number.
    fn table_owner(&self, domains: u32) -> Result<MapOwner, Errno> {
        match (domains >> 16) as u16 {
            0 => {}
            tables if tables - 1 == self.domain.id.0 => {}
            tables if self.frames.account(DomainId(tables - 1)).is_some() => return Err(Errno::EPERM),
            _ => return Err(Errno::ESRCH),
        }
        self.page_owner(domains as u16)
    }
}
