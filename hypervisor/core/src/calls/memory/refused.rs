//! The sub-operations of memory_op that have nothing to give to a PV domain without devices: what is looked at before the
//! refusal, in Xen's order.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::memory_op::MemoryCommand;
use paravane_abi::memory::{
    AddToPhysmap, AddToPhysmapBatch, MEMOP_EXTENT_SHIFT, MemAccessOp, MemAcquireResource, MemoryReservation,
    PodTarget, RemoveFromPhysmap, ReservedDeviceMemory, ReservedDeviceMemoryMap, VnumaTopologyInfo,
    XENMAPSPACE_GMFN_FOREIGN, XENMAPSPACE_GMFN_RANGE, XENMEM_RDM_ALL,
};
use paravane_abi::mmu::DOMID_SELF;

use super::super::{Answer, Call, Stop, is_guest_range};
use crate::addr::DomainId;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

impl<M: Machine> Hypervisor<M> {
    /// A sub-operation of `memory_op` that changes nothing.
    pub(super) fn memory_refused(&mut self, command: MemoryCommand, call: &mut Call<'_>) -> Answer {
        let (done, pointer) = (call.args[0] >> MEMOP_EXTENT_SHIFT, call.args[1]);
        match command {
            MemoryCommand::AddToPhysmapOne | MemoryCommand::AddToPhysmapMany if done > u16::MAX.into() => {
                Err(Errno::EDOM.into())
            }
            MemoryCommand::RemoveFromPhysmapOne
            | MemoryCommand::ClaimPages
            | MemoryCommand::GetVnumainfo
            | MemoryCommand::ReservedDeviceMemoryMapGet
                if done != 0 =>
            {
                Err(Errno::EINVAL.into())
            }
            MemoryCommand::AddToPhysmapOne
            | MemoryCommand::AddToPhysmapMany
            | MemoryCommand::RemoveFromPhysmapOne => self.no_physmap(command, pointer),
            MemoryCommand::ClaimPages => self.claim_pages(pointer),
            MemoryCommand::GetVnumainfo => self.no_vnuma(pointer),
            MemoryCommand::ReservedDeviceMemoryMapGet => self.no_reserved_memory(pointer),
            MemoryCommand::AcquireResource => self.acquire_resource(pointer),
            MemoryCommand::AccessOp => {
                let request: MemAccessOp = self.read_guest(pointer)?;
                self.check_other(request.domid)?;
                // No domain is of the kind whose pages have access rights.
                Err(Errno::EINVAL.into())
            }
            // What the architecture's part of Xen serves is not continued, so no extent can be named.
            _ if done != 0 => Err(Errno::ENOSYS.into()),
            MemoryCommand::SetPodTarget | MemoryCommand::GetPodTarget => {
                let request: PodTarget = self.read_guest(pointer)?;
                self.find(request.domid)?;
                Err(Errno::EINVAL.into())
            }
            MemoryCommand::GetSharingFreedPages | MemoryCommand::GetSharingSharedPages => Ok(0),
            // There are no 32-bit domains.
            MemoryCommand::MachphysCompatMfnList => Err(Errno::EOPNOTSUPP.into()),
            MemoryCommand::MachineMemoryMap => Err(Errno::EPERM.into()),
            // Paging out and sharing, which ordinary builds of Xen leave out; the rest is served elsewhere.
            _ => Err(Errno::ENOSYS.into()),
        }
    }

    /// ESRCH unless the domain exists.
    pub(in crate::calls) fn find(&self, domid: u16) -> Result<(), Stop> {
        if domid == DOMID_SELF || self.domain_index(DomainId(domid)).is_some() {
            return Ok(());
        }
        Err(Errno::ESRCH.into())
    }

    /// ESRCH unless the domain exists, EPERM when it is the caller.
    pub(in crate::calls) fn check_other(&self, domid: u16) -> Result<(), Stop> {
        if self.domain_index(DomainId(domid)).is_none() {
            return Err(Errno::ESRCH.into());
        }
        if domid == self.domain().id.0 { Err(Errno::EPERM.into()) } else { Ok(()) }
    }

    /// Every domain is PV, and such a domain has no physmap.
    fn no_physmap(&self, command: MemoryCommand, pointer: u64) -> Answer {
        let domid = match command {
            MemoryCommand::AddToPhysmapOne => {
                let request: AddToPhysmap = self.read_guest(pointer)?;
                if request.space == XENMAPSPACE_GMFN_FOREIGN {
                    return Err(Errno::ENOSYS.into());
                }
                request.domid
            }
            MemoryCommand::AddToPhysmapMany => {
                let request: AddToPhysmapBatch = self.read_guest(pointer)?;
                if u32::from(request.space) == XENMAPSPACE_GMFN_RANGE {
                    return Err(Errno::EOPNOTSUPP.into());
                }
                request.domid
            }
            _ => self.read_guest::<RemoveFromPhysmap>(pointer)?.domid,
        };
        self.find(domid)?;
        Err(Errno::EACCES.into())
    }

    fn claim_pages(&self, pointer: u64) -> Answer {
        let request: MemoryReservation = self.read_guest(pointer)?;
        let plain = request.extent_start == 0 && request.extent_order == 0 && request.mem_flags == 0;
        let known = self.domain_index(DomainId(request.domid)).is_some();
        Err(if plain && known { Errno::EPERM } else { Errno::EINVAL }.into())
    }

    fn no_vnuma(&self, pointer: u64) -> Answer {
        let request: VnumaTopologyInfo = self.read_guest(pointer)?;
        if request.pad != 0 {
            return Err(Errno::EINVAL.into());
        }
        self.check_domain(request.domid)?;
        Err(Errno::EOPNOTSUPP.into())
    }

    /// No device is given to a domain, so no region is reserved for one.
    fn no_reserved_memory(&mut self, pointer: u64) -> Answer {
        let mut request: ReservedDeviceMemoryMap = self.read_guest(pointer)?;
        let bytes = u64::from(request.nr_entries) * size_of::<ReservedDeviceMemory>() as u64;
        if bytes != 0 && !is_guest_range(request.buffer, bytes) {
            return Err(Errno::EFAULT.into());
        }
        if request.flags & !XENMEM_RDM_ALL != 0 {
            return Err(Errno::EINVAL.into());
        }
        request.nr_entries = 0;
        self.write_guest(pointer, &request)?;
        Ok(0)
    }

    fn acquire_resource(&self, pointer: u64) -> Answer {
        let request: MemAcquireResource = self.read_guest(pointer)?;
        let end = request.frame.checked_add(request.nr_frames.into());
        if request.pad != 0 || end.is_none_or(|end| end >> 32 != 0) {
            return Err(Errno::EINVAL.into());
        }
        self.check_other(request.domid)?;
        Err(Errno::EPERM.into())
    }
}
