//! memory_op: what memory the domain has, and taking or giving some.

use paravane_abi::errno::Errno;
use paravane_abi::hypercall::memory_op::MemoryCommand;
use paravane_abi::memory::{
    MEMOP_COMMAND_MASK, MEMOP_EXTENT_SHIFT, MachphysMapping, MemoryDomain, MemoryReservation,
};
use paravane_abi::mmu::{DOMID_SELF, MACH2PHYS_VIRT_END, MACH2PHYS_VIRT_START};

use super::{Answer, Call, Stop};
use crate::addr::{Mfn, Pfn};
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

/// Extents handled in one bounded step.
const EXTENTS_A_STEP: u64 = 64;

impl<M: Machine> Hypervisor<M> {
    /// `memory_op`. The command's upper bits say how many extents an earlier step has done.
    pub(super) fn memory_op(&mut self, call: &mut Call<'_>) -> Answer {
        let (number, pointer) = (call.args[0] & MEMOP_COMMAND_MASK, call.args[1]);
        let command = MemoryCommand::from_number(number as u32).ok_or(Errno::ENOSYS)?;
        match command {
            MemoryCommand::IncreaseReservation
            | MemoryCommand::DecreaseReservation
            | MemoryCommand::PopulatePhysmap => self.change_reservation(command, call),
            MemoryCommand::MaximumRamPage => Ok(self.frames.len() as u64 - 1),
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
                Ok(self.domain().max_pfn)
            }
            MemoryCommand::MachphysMappingGet => {
                let max_mfn = self.frames.len() as u64 - 1;
                let mapping =
                    MachphysMapping { v_start: MACH2PHYS_VIRT_START, v_end: MACH2PHYS_VIRT_END, max_mfn };
                self.write_guest(pointer, &mapping)?;
                Ok(0)
            }
            MemoryCommand::Exchange => Err(Errno::ENOSYS.into()),
            MemoryCommand::MachphysMfnList
            | MemoryCommand::AddToPhysmapOne
            | MemoryCommand::MemoryMapGet
            | MemoryCommand::MachineMemoryMap
            | MemoryCommand::SetMemoryMap
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
        let known = self.domain_index(crate::addr::DomainId(domid)).is_some();
        Err(if known { Errno::EPERM } else { Errno::ESRCH }.into())
    }

    /// Extents in or out, one frame each; the result is how many were done, as Xen has it.
    fn change_reservation(&mut self, command: MemoryCommand, call: &mut Call<'_>) -> Answer {
        let first = call.args[0] >> MEMOP_EXTENT_SHIFT;
        // Whatever is wrong with the request as a whole, Xen answers how many extents were done.
        let Ok(request) = self.read_guest::<MemoryReservation>(call.args[1]) else { return Ok(first) };
        // Xen counts extents in 58 bits and answers with what was done so far when that cannot hold them.
        if request.nr_extents > u64::MAX >> MEMOP_EXTENT_SHIFT || first > request.nr_extents {
            return Ok(first);
        }
        // Contiguous extents are for devices, which no domain has.
        if self.check_domain(request.domid).is_err() || request.extent_order != 0 {
            return Ok(first);
        }
        let end = request.nr_extents.min(first.saturating_add(EXTENTS_A_STEP));
        for index in first..end {
            let place = request.extent_start.wrapping_add(8 * index);
            let done = match command {
                MemoryCommand::DecreaseReservation => self.give_frame_back(place),
                MemoryCommand::PopulatePhysmap => self.populate(place),
                _ => self.take_frame(request.extent_start != 0, place),
            };
            if done.is_none() {
                return Ok(index);
            }
        }
        if end == request.nr_extents {
            return Ok(end);
        }
        call.args[0] = (call.args[0] & MEMOP_COMMAND_MASK) | end << MEMOP_EXTENT_SHIFT;
        Err(Stop::AGAIN)
    }

    fn give_frame_back(&mut self, place: u64) -> Option<()> {
        let frame = Mfn::new(self.read_guest(place).ok()?);
        let id = self.domain().id;
        self.frames.release_allocation(&self.machine, frame, id).then_some(())
    }

    /// Allocates a frame for the pfn in the list and writes its mfn over it. The list is written before the
    /// frame is taken, so that a list that cannot be written costs none.
    fn populate(&mut self, place: u64) -> Option<()> {
        let pfn: u64 = self.read_guest(place).ok()?;
        self.write_guest(place, &pfn).ok()?;
        let id = self.domain().id;
        let frame = self.frames.alloc_domain(&self.machine, id).ok()?;
        self.machine.set_m2p(frame, Pfn::new(pfn));
        let domain = self.domain_mut();
        domain.max_pfn = domain.max_pfn.max(pfn);
        self.write_guest(place, &frame.get()).ok()
    }

    fn take_frame(&mut self, listed: bool, place: u64) -> Option<()> {
        if listed {
            let old: u64 = self.read_guest(place).ok()?;
            self.write_guest(place, &old).ok()?;
        }
        let id = self.domain().id;
        let frame = self.frames.alloc_domain(&self.machine, id).ok()?;
        // It stands for no guest frame until the guest says so.
        self.machine.set_m2p(frame, Pfn::INVALID);
        if listed { self.write_guest(place, &frame.get()).ok() } else { Some(()) }
    }
}
