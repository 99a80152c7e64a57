//! What a domain's end does to grants.

use crate::grant::{Mapping, Pins};
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;
use crate::pagetable::{Budget, OpError};

/// Steps a handle costs.
const HANDLE_STEPS: u32 = 16;

impl<M: Machine> Hypervisor<M> {
    /// Releases what a dying domain has mapped of others' grants, and the frames of its own table, in steps: to be
    /// repeated until it returns `Ok`, before the domain's page tables go. From the first step on nobody uses its
    /// grants anew. Its page-table entries that map others' frames are released with the tables they stand in.
    ///
    /// What others have mapped of *its* frames stays until they unmap it, and the record of that stays in
    /// the domain's [`GrantTable`](crate::grant::GrantTable) until none of its frames is left
    /// ([`Teardown::remaining`](crate::pagetable::Teardown::remaining)); then
    /// [`GrantTable::destroy`](crate::grant::GrantTable::destroy) gives the rest back.
    ///
    /// # Errors
    /// [`OpError::Again`] when the budget is spent.
    pub fn release_grants(&mut self, domain: usize, budget: &mut Budget) -> Result<(), OpError> {
        self.domains[domain].grants.start_dying();
        let mut first = true;
        loop {
            if !first && budget.spent() {
                return Err(OpError::Again);
            }
            first = false;
            budget.charge(HANDLE_STEPS);
            let Self { frames, machine, domains, .. } = self;
            match domains[domain].grants.pop_mapping(frames, machine) {
                Some(Some(mapping)) => self.release_mapping(&mapping),
                Some(None) => {}
                None => break,
            }
        }
        let Self { frames, machine, domains, .. } = self;
        domains[domain].grants.release_shared(frames, machine);
        Ok(())
    }

    /// Lets go of what a mapping that is off the record used. Its domain may be gone: then there is nothing.
    fn release_mapping(&mut self, mapping: &Mapping) {
        let Some(granter) = self.granter_of(mapping) else { return };
        let lender = &self.domains[granter].grants;
        let Some(active) = lender.in_use(&self.machine, mapping.reference) else { return };
        let readonly = mapping.readonly();
        let mut pins = Pins::NONE;
        if mapping.host() {
            pins = pins.and(Pins::host(readonly));
        }
        if mapping.device() {
            pins = pins.and(Pins::device(readonly));
            self.put_device_grant(active.frame, readonly);
        }
        let lender = &mut self.domains[granter].grants;
        lender.unpin(&self.frames, &self.machine, mapping.reference, pins, readonly);
    }
}
