//! XENMEM_exchange: frames for others, of another size or place.

use core::mem::offset_of;

use paravane_abi::errno::Errno;
use paravane_abi::memory::{MEMOP_EXTENT_SHIFT, MemoryExchange};

use super::super::{Answer, Call, Stop};
use super::{STEPS_A_FRAME, address_bits, node_is_granted};
use crate::addr::{Mfn, PAGE_SHIFT};
use crate::frame::{ANYWHERE, Detached, MAX_ORDER};
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;
use crate::pagetable::Budget;

/// A request that could be done. Extents are exchanged in chunks: as many of the smaller as make one of the larger.
struct Exchange {
    request: MemoryExchange,
    /// Binary logarithm of the extents given in a chunk.
    given: u32,
    /// Binary logarithm of the extents taken in a chunk.
    taken: u32,
    /// Binary logarithm of the frames that the new ones are to be among.
    bits: u32,
}

impl Exchange {
    /// Frames in a chunk.
    fn frames(&self) -> u32 {
        1 << (self.given + self.request.input.extent_order)
    }
}

impl<M: Machine> Hypervisor<M> {
    /// XENMEM_exchange. How many of the extents given were exchanged is told in the request, whatever the answer.
    pub(super) fn exchange(&mut self, call: &mut Call<'_>) -> Answer {
        if call.args[0] >> MEMOP_EXTENT_SHIFT != 0 {
            return Err(Errno::EINVAL.into());
        }
        let pointer = call.args[1];
        let request: MemoryExchange = self.read_guest(pointer)?;
        let answer = self.decode_exchange(request);
        let Ok(Some(exchange)) = answer else {
            // Xen says how far it came even when it did not begin.
            if answer.is_err() {
                self.tell_exchanged(pointer, request.nr_exchanged)?;
            }
            return answer.map(|_| 0);
        };
        let mut budget = if call.nested { self.step } else { Budget::HYPERCALL };
        let first = request.nr_exchanged >> exchange.given;
        for chunk in first..request.input.nr_extents >> exchange.given {
            let done = chunk << exchange.given;
            if chunk > first && budget.spent() {
                self.step = budget;
                self.tell_exchanged(pointer, done)?;
                return Err(Stop::AGAIN);
            }
            if let Err(stop) = self.exchange_chunk(&exchange, chunk) {
                self.step = budget;
                self.tell_exchanged(pointer, done)?;
                return Err(stop);
            }
            budget.charge(STEPS_A_FRAME * exchange.frames());
        }
        self.step = budget;
        self.tell_exchanged(pointer, request.input.nr_extents)?;
        Ok(0)
    }

    fn tell_exchanged(&self, pointer: u64, count: u64) -> Result<(), Stop> {
        self.write_guest(pointer.wrapping_add(offset_of!(MemoryExchange, nr_exchanged) as u64), &count)
    }

    /// What is looked at before the first extent, in Xen's order. None when nothing is left to do. The ranges are
    /// checked whole, from the extent that the guest says comes next (XSA-212); besides, every access to them is a
    /// walk of the guest's own tables.
    fn decode_exchange(&self, request: MemoryExchange) -> Result<Option<Exchange>, Stop> {
        let MemoryExchange { input, output, nr_exchanged } = request;
        if input.extent_order.max(output.extent_order) > MAX_ORDER {
            return Err(Errno::EPERM.into());
        }
        let pages = |count: u64, order: u32| (count <= u64::MAX >> order).then(|| count << order);
        let size = pages(input.nr_extents, input.extent_order);
        if nr_exchanged > input.nr_extents
            || input.domid != output.domid
            || size.is_none()
            || size != pages(output.nr_extents, output.extent_order)
        {
            return Err(Errno::EINVAL.into());
        }
        if nr_exchanged == input.nr_extents {
            return Ok(None);
        }
        let given = output.extent_order.saturating_sub(input.extent_order);
        let taken = input.extent_order.saturating_sub(output.extent_order);
        let answered = nr_exchanged >> given << taken;
        let memory = self.kernel_memory().ok_or(Errno::EFAULT)?;
        for (list, first, count) in [
            (input.extent_start, nr_exchanged, input.nr_extents),
            (output.extent_start, answered, output.nr_extents),
        ] {
            let start = first.checked_mul(8).map(|offset| list.wrapping_add(offset)).ok_or(Errno::EFAULT)?;
            memory.check_array(start, count - first, 8)?;
        }
        if !node_is_granted(output.mem_flags) {
            return Err(Errno::EINVAL.into());
        }
        self.check_domain(input.domid)?;
        let bits = match address_bits(output.mem_flags) {
            0 => ANYWHERE,
            few => few.saturating_sub(PAGE_SHIFT),
        };
        Ok(Some(Exchange { request, given, taken, bits }))
    }

    /// Exchanges one chunk. What was given is the domain's again when that fails.
    fn exchange_chunk(&mut self, exchange: &Exchange, chunk: u64) -> Result<(), Stop> {
        let mut given = Detached::default();
        let mut taken = Detached::default();
        match self.gather(exchange, chunk, &mut given, &mut taken) {
            Ok(()) => {}
            Err(stop) => {
                let id = self.domain().id;
                self.frames.reattach(id, given, 0);
                self.frames.free_detached(&self.machine, taken, exchange.request.output.extent_order);
                return Err(stop);
            }
        }
        self.frames.free_detached(&self.machine, given, 0);
        self.hand_out(exchange, chunk, taken)
    }

    /// Takes a chunk's frames from the domain, which must not use them, and allocates as many.
    fn gather(
        &mut self,
        exchange: &Exchange,
        chunk: u64,
        given: &mut Detached,
        taken: &mut Detached,
    ) -> Result<(), Stop> {
        let id = self.domain().id;
        let MemoryExchange { input, output, .. } = exchange.request;
        for index in 0..1 << exchange.given {
            let place = input.extent_start.wrapping_add(8 * ((chunk << exchange.given) + index));
            let first: u64 = self.read_guest(place)?;
            for frame in 0..1 << input.extent_order {
                // Exactly the allocation's reference, hence no type (XSA-214, 217, 287): a frame in use, a shared
                // page, another's and one given twice are refused alike.
                let frame = first.checked_add(frame).map(Mfn::new).ok_or(Errno::EINVAL)?;
                if !self.frames.detach(frame, id, given) {
                    return Err(Errno::EINVAL.into());
                }
            }
        }
        for _ in 0..1 << exchange.taken {
            if !self.frames.alloc_detached(&self.machine, output.extent_order, exchange.bits, taken) {
                return Err(Errno::ENOMEM.into());
            }
        }
        Ok(())
    }

    /// Gives a chunk's new extents to the domain and names them in its list. That happens even where the list cannot be
    /// read or written: the frames given are gone.
    fn hand_out(&mut self, exchange: &Exchange, chunk: u64, taken: Detached) -> Result<(), Stop> {
        let id = self.domain().id;
        let output = exchange.request.output;
        let mut result = Ok(());
        let mut extents = taken;
        for index in 0..1 << exchange.taken {
            let Some(first) = self.frames.reattach_one(id, &mut extents, output.extent_order) else { break };
            let place = output.extent_start.wrapping_add(8 * ((chunk << exchange.taken) + index));
            let Ok(pfn) = self.read_guest::<u64>(place) else {
                result = Err(Errno::EFAULT.into());
                continue;
            };
            self.set_pfns(first, output.extent_order, pfn);
            if self.write_guest(place, &first.get()).is_err() {
                result = Err(Errno::EFAULT.into());
            }
        }
        result
    }
}
