//! Giving a frame to another domain.

use paravane_abi::grant::GnttabTransfer;

use crate::addr::{DomainId, ENTRIES, Mfn};
use crate::grant::GrantError;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;
use crate::pagetable::Budget;

impl<M: Machine> Hypervisor<M> {
    /// One `GNTTABOP_transfer`. The frame must be the caller's and used by nothing at all (XSA-214, XSA-217,
    /// XSA-287); then the caller loses it, to the receiver or, when that refuses it, to the free list, as Xen's
    /// header says.
    pub(super) fn transfer_frame(
        &mut self,
        request: &GnttabTransfer,
        budget: &mut Budget,
    ) -> Result<(), GrantError> {
        let (frame, giver) = (Mfn::new(request.mfn), self.domain().id);
        if !self.frames.is_unused(frame, giver) {
            return Err(GrantError::BadPage);
        }
        budget.charge(ENTRIES as u32);
        let end = self.give_frame(frame, giver, request);
        if end.is_err() {
            self.frames.release_allocation(&self.machine, frame, giver);
        }
        end
    }

    fn give_frame(
        &mut self,
        frame: Mfn,
        giver: DomainId,
        request: &GnttabTransfer,
    ) -> Result<(), GrantError> {
        let index = self.domain_index(DomainId(request.domid)).ok_or(GrantError::BadDomain)?;
        let Self { frames, machine, domains, .. } = self;
        let receiver = &domains[index].grants;
        if receiver.dying() || !frames.has_headroom(receiver.domain(), giver) {
            return Err(GrantError::General);
        }
        receiver.commit_transfer(frames, machine, request.reference, giver)?;
        let to = receiver.domain();
        if !frames.give(machine, frame, giver, to) {
            return Err(GrantError::General);
        }
        domains[index].grants.complete_transfer(frames, machine, request.reference, frame);
        Ok(())
    }
}
