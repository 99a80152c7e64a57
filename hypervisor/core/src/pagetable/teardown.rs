//! The end of a domain: every frame goes back to the free list.

use super::validate::Validator;
use super::{Budget, DomainMemory, OpError};
use crate::addr::Mfn;
use crate::flush::Tlb;
use crate::frame::{FrameTable, Owner};
use crate::memory::Memory;

/// How far the release of a domain's memory came.
///
/// First every vcpu is off the CPUs and has given its base tables back
/// ([`super::Paging::drop_bases`]), and what the hypervisor held of the domain's frames is dropped. Then
/// [`Teardown::run`] is repeated until it returns `Ok`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Teardown {
    next: u64,
}

impl Teardown {
    /// From the start.
    pub const fn new() -> Self {
        Self { next: 0 }
    }

    /// Takes pins off, releases abandoned partial tables and gives up allocations, frame by frame. A frame
    /// whose references come from tables further on is freed when those go.
    pub fn run<M: Memory + Tlb>(
        &mut self,
        frames: &mut FrameTable,
        machine: &M,
        domain: &DomainMemory,
        budget: &mut Budget,
    ) -> Result<(), OpError> {
        let mut first = true;
        while self.next < frames.len() as u64 {
            if budget.spent() && !first {
                return Err(OpError::Again);
            }
            first = false;
            budget.charge(1);
            let frame = Mfn::new(self.next);
            if frames.is_owned_by(frame, domain.id) {
                Self::release_frame(frames, machine, domain, frame, budget)?;
            }
            self.next += 1;
        }
        Ok(())
    }

    fn release_frame<M: Memory + Tlb>(
        frames: &mut FrameTable,
        machine: &M,
        domain: &DomainMemory,
        frame: Mfn,
        budget: &mut Budget,
    ) -> Result<(), OpError> {
        let level = frames.info(frame).and_then(|info| info.kind().level());
        if let Some(level) = level
            && frames.unpin(frame)
        {
            let released = Validator { frames, machine, domain }.release(frame, level, budget);
            // When it was interrupted, the partial state holds the frame, and is found again below.
            frames.put_ref(machine, frame);
            released.map_err(|_| OpError::Again)?;
        }
        Validator { frames, machine, domain }.release_partial(frame, budget).map_err(|_| OpError::Again)?;
        if !frames.release_allocation(machine, frame, domain.id) {
            frames.release_shared(machine, frame);
        }
        Ok(())
    }

    /// Frames of the domain that something still refers to, after [`Self::run`] is through.
    pub fn remaining(frames: &FrameTable, domain: &DomainMemory) -> usize {
        (0..frames.len() as u64)
            .filter_map(|frame| frames.info(Mfn::new(frame)))
            .filter(|info| info.owner() == Owner::Domain(domain.id))
            .count()
    }
}
