//! memory_op: what memory the domain has, and taking, giving or exchanging some. The order of the checks is that of Xen
//! 4.17's `xen/common/memory.c`, as far as a guest can tell.

mod exchange;
mod map;
mod refused;
mod reservation;

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::memory_op::MemoryCommand;
use paravane_abi::memory::{
    MEMOP_COMMAND_MASK, MEMOP_EXTENT_SHIFT, MemoryDomain, XENMEMF_ADDRESS_BITS_MASK,
    XENMEMF_EXACT_NODE_REQUEST,
};
use paravane_abi::mmu::DOMID_SELF;

use super::{Answer, Call, Stop};
use crate::addr::DomainId;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

/// What a frame costs of a bounded step: filling it with zeros is most of it.
const STEPS_A_FRAME: u32 = 128;

/// Most bits that addresses of frames to be allocated may have; 0 for any.
fn address_bits(mem_flags: u32) -> u32 {
    mem_flags & XENMEMF_ADDRESS_BITS_MASK
}

/// Whether memory from where the flags say can be promised. Only a privileged domain chooses a node; others' wishes are
/// not heeded, and their demands refused.
fn node_is_granted(mem_flags: u32) -> bool {
    const NODE: u32 = 0xff << 8;
    mem_flags & NODE == 0 || mem_flags & XENMEMF_EXACT_NODE_REQUEST == 0
}

/// The least power of two that holds so many.
fn ceil_log2(count: u64) -> u32 {
    u64::BITS - count.saturating_sub(1).leading_zeros()
}

impl<M: Machine> Hypervisor<M> {
    /// `memory_op`. The command's upper bits say how many extents an earlier step has done.
    pub(super) fn memory_op(&mut self, call: &mut Call<'_>) -> Answer {
        let (number, pointer) = (call.args[0] & MEMOP_COMMAND_MASK, call.args[1]);
        let command = MemoryCommand::from_number(number as u32).ok_or(Errno::ENOSYS)?;
        let continued = call.args[0] >> MEMOP_EXTENT_SHIFT != 0;
        match command {
            MemoryCommand::IncreaseReservation
            | MemoryCommand::DecreaseReservation
            | MemoryCommand::PopulatePhysmap => self.change_reservation(command, call),
            MemoryCommand::Exchange => self.exchange(call),
            MemoryCommand::MaximumRamPage
            | MemoryCommand::CurrentReservation
            | MemoryCommand::MaximumReservation
            | MemoryCommand::MaximumGpfn
                if continued =>
            {
                Err(Errno::EINVAL.into())
            }
            // One more than the name says.
            MemoryCommand::MaximumRamPage => Ok(self.frames.len() as u64),
            MemoryCommand::CurrentReservation => {
                self.check_self(pointer)?;
                Ok(self.frames.account(self.domain().id).map_or(0, |account| account.allocated))
            }
            MemoryCommand::MaximumReservation => {
                self.check_self(pointer)?;
                Ok(self.frames.account(self.domain().id).map_or(0, |account| account.max))
            }
            MemoryCommand::MaximumGpfn => {
                self.check_self(pointer)?;
                Ok(self.maximum_gpfn())
            }
            // What the architecture's part of Xen serves is not continued: its commands have no upper bits.
            MemoryCommand::MachphysMappingGet
            | MemoryCommand::MachphysMfnList
            | MemoryCommand::MemoryMapGet
            | MemoryCommand::SetMemoryMap
                if continued =>
            {
                Err(Errno::ENOSYS.into())
            }
            MemoryCommand::MachphysMappingGet => self.machphys_mapping(pointer),
            MemoryCommand::MachphysMfnList => self.machphys_mfn_list(pointer),
            MemoryCommand::MemoryMapGet => self.memory_map(pointer),
            MemoryCommand::SetMemoryMap => self.set_memory_map(pointer),
            MemoryCommand::AddToPhysmapOne
            | MemoryCommand::MachineMemoryMap
            | MemoryCommand::RemoveFromPhysmapOne
            | MemoryCommand::SetPodTarget
            | MemoryCommand::GetPodTarget
            | MemoryCommand::GetSharingFreedPages
            | MemoryCommand::GetSharingSharedPages
            | MemoryCommand::PagingOp
            | MemoryCommand::AccessOp
            | MemoryCommand::SharingOp
            | MemoryCommand::AddToPhysmapMany
            | MemoryCommand::ClaimPages
            | MemoryCommand::MachphysCompatMfnList
            | MemoryCommand::GetVnumainfo
            | MemoryCommand::ReservedDeviceMemoryMapGet
            | MemoryCommand::AcquireResource => self.memory_refused(command, call),
        }
    }

    fn check_self(&self, pointer: u64) -> Result<(), Stop> {
        let request: MemoryDomain = self.read_guest(pointer)?;
        self.check_domain(request.domid)
    }

    pub(super) fn check_domain(&self, domid: u16) -> Result<(), Stop> {
        if domid == DOMID_SELF || domid == self.domain().id.0 {
            return Ok(());
        }
        let known = self.domain_index(DomainId(domid)).is_some();
        Err(if known { Errno::EPERM } else { Errno::ESRCH }.into())
    }
}
