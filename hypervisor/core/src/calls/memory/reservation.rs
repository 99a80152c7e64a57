//! Extents in and out of a domain's reservation.

use paravane_abi::hypercall::memory_op::MemoryCommand;
use paravane_abi::memory::*;

use super::super::{Answer, Call, Stop};
use super::{STEPS_A_FRAME, address_bits, ceil_log2, node_is_granted};
use crate::addr::{Mfn, PAGE_SHIFT, Pfn};
use crate::frame::{ANYWHERE, MAX_ORDER};
use crate::guest_memory::Access;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;
use crate::pagetable::Budget;

/// Most extents of a call: Xen keeps the number of those that are done in the rest of a 32-bit command.
const EXTENTS_MAX: u64 = (u32::MAX >> MEMOP_EXTENT_SHIFT) as u64;

/// A request that could be done.
#[derive(Clone, Copy)]
struct Extents {
    command: MemoryCommand,
    list: u64,
    order: u32,
    /// Binary logarithm of the frames that the new ones are to be among.
    bits: u32,
}

impl<M: Machine> Hypervisor<M> {
    /// XENMEM_increase_reservation, decrease_reservation and populate_physmap. Whatever is wrong, Xen answers how many
    /// extents were done, this call's and those its command says were done before.
    pub(super) fn change_reservation(&mut self, command: MemoryCommand, call: &mut Call<'_>) -> Answer {
        let first = call.args[0] >> MEMOP_EXTENT_SHIFT;
        let Ok(request) = self.read_guest::<MemoryReservation>(call.args[1]) else { return Ok(first) };
        let Some(extents) = self.decode(command, &request, first) else { return Ok(first) };
        let mut budget = if call.nested { self.step } else { Budget::HYPERCALL };
        for index in first..request.nr_extents {
            // At least one extent a step, so that the call ends.
            if index > first && budget.spent() {
                self.step = budget;
                call.args[0] = (call.args[0] & MEMOP_COMMAND_MASK) | index << MEMOP_EXTENT_SHIFT;
                return Err(Stop::AGAIN);
            }
            if self.change_extent(extents, index).is_none() {
                self.step = budget;
                return Ok(index);
            }
            budget.charge(STEPS_A_FRAME << extents.order);
        }
        self.step = budget;
        Ok(request.nr_extents)
    }

    /// Everything that Xen looks at before the first extent, in any order, since there is but one answer.
    fn decode(&self, command: MemoryCommand, request: &MemoryReservation, first: u64) -> Option<Extents> {
        if request.nr_extents > EXTENTS_MAX || first >= request.nr_extents || request.extent_order > MAX_ORDER
        {
            return None;
        }
        self.check_domain(request.domid).ok()?;
        if request.mem_flags & XENMEMF_VNODE == 0 && !node_is_granted(request.mem_flags) {
            return None;
        }
        // Nothing is populated on demand in a PV domain.
        let populate = command == MemoryCommand::PopulatePhysmap;
        if populate && request.mem_flags & XENMEMF_POPULATE_ON_DEMAND != 0 {
            return None;
        }
        let bits = match address_bits(request.mem_flags) {
            0 => ANYWHERE,
            all if all >= ceil_log2(self.frames.len() as u64) + PAGE_SHIFT => ANYWHERE,
            few => few.checked_sub(PAGE_SHIFT).filter(|bits| *bits > 0)?,
        };
        // Frames may be taken without being told which; all else has a list.
        if command != MemoryCommand::IncreaseReservation || request.extent_start != 0 {
            let start = request.extent_start.wrapping_add(8 * first);
            self.kernel_memory()?.check_array(start, request.nr_extents - first, 8).ok()?;
        }
        Some(Extents { command, list: request.extent_start, order: request.extent_order, bits })
    }

    fn change_extent(&mut self, extents: Extents, index: u64) -> Option<()> {
        let place = extents.list.wrapping_add(8 * index);
        match extents.command {
            MemoryCommand::DecreaseReservation => self.give_back(place, extents.order),
            MemoryCommand::PopulatePhysmap => {
                let pfn: u64 = self.read_guest(place).ok()?;
                let first = self.take_extent(Some(place), extents)?;
                self.set_pfns(first, extents.order, pfn);
                Some(())
            }
            _ => self.take_extent((extents.list != 0).then_some(place), extents).map(|_| ()),
        }
    }

    /// The extent's frames stand for as many pages from `pfn` on, which is for the guest alone to make sense of.
    pub(super) fn set_pfns(&self, first: Mfn, order: u32, pfn: u64) {
        for index in 0..1 << order {
            self.machine.set_m2p(Mfn::new(first.get() + index), Pfn::new(pfn.wrapping_add(index)));
        }
    }

    /// Allocates an extent and names it in the list. That the list can be written is found out before, so that one
    /// that cannot costs no frame.
    fn take_extent(&mut self, place: Option<u64>, extents: Extents) -> Option<Mfn> {
        if let Some(place) = place {
            self.check_word(place)?;
        }
        let id = self.domain().id;
        let first = self.frames.alloc_extent(&self.machine, id, extents.order, extents.bits).ok()?;
        match place {
            Some(place) => self.write_guest(place, &first.get()).ok().map(|()| first),
            None => Some(first),
        }
    }

    /// Whether a word of a list can be written.
    pub(super) fn check_word(&self, place: u64) -> Option<()> {
        let memory = self.kernel_memory()?;
        memory.translate(place, Access::Write).ok()?;
        memory.translate(place.wrapping_add(7), Access::Write).ok().map(|_| ())
    }

    /// Gives an extent's frames back, all or none. A frame that is still in use goes with its last use. (Xen gives back
    /// those that come before the first it cannot, and does not count the extent.)
    fn give_back(&mut self, place: u64, order: u32) -> Option<()> {
        let first: u64 = self.read_guest(place).ok()?;
        let last = first.checked_add((1 << order) - 1)?;
        if last >= self.frames.len() as u64 {
            return None;
        }
        let id = self.domain().id;
        let frames = || (first..=last).map(Mfn::new);
        let own = |frame: &Mfn| self.frames.is_owned_by(*frame, id);
        let shared = |frame: &Mfn| self.frames.info(*frame).is_some_and(|info| info.shared());
        if !frames().all(|frame| own(&frame) && !shared(&frame)) {
            return None;
        }
        for frame in frames() {
            // One that was given back before and is still mapped has nothing more to give.
            self.frames.release_allocation(&self.machine, frame, id);
        }
        Some(())
    }
}
