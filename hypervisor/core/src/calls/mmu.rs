//! mmu_update, update_va_mapping, mmuext_op: page tables. What is allowed is decided in [`crate::pagetable`].

use super::{Answer, Call, Stop};
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;
use crate::pagetable::{Budget, CallOutcome};

/// The outcome as a handler's answer; a call to be made again finds its arguments in `call`.
#[inline]
fn answer(outcome: CallOutcome, call: &mut Call<'_>) -> Answer {
    match outcome {
        CallOutcome::Return(value) => Ok(value as u64),
        CallOutcome::Continue(arguments) => {
            call.args[..4].copy_from_slice(&arguments);
            Err(Stop::AGAIN)
        }
    }
}

impl<M: Machine> Hypervisor<M> {
    /// The budget of a paging call: a hypercall's own, or what its multicall has left.
    #[inline]
    fn budget(&self, call: &Call<'_>) -> Budget {
        if call.nested { self.step } else { Budget::HYPERCALL }
    }

    /// `mmu_update`.
    pub(super) fn mmu_update(&mut self, call: &mut Call<'_>) -> Answer {
        let [requests, count, done, domains, ..] = call.args;
        let mut paging = self.paging(self.budget(call));
        let outcome = paging.mmu_update(requests, count as u32, done, domains as u32);
        self.step = paging.budget();
        self.look_for_last_unmap();
        answer(outcome, call)
    }

    /// `mmuext_op`.
    pub(super) fn mmuext_op(&mut self, call: &mut Call<'_>) -> Answer {
        let [operations, count, done, domain, ..] = call.args;
        let mut paging = self.paging(self.budget(call));
        let outcome = paging.mmuext_op(operations, count as u32, done, domain as u32);
        self.step = paging.budget();
        self.look_for_last_unmap();
        answer(outcome, call)
    }

    /// `update_va_mapping`.
    pub(super) fn update_va_mapping(&mut self, call: &mut Call<'_>) -> Answer {
        let [va, entry, flags, ..] = call.args;
        let mut paging = self.paging(self.budget(call));
        let outcome = paging.update_va_mapping(va, entry, flags);
        self.step = paging.budget();
        self.look_for_last_unmap();
        answer(outcome, call)
    }

    /// `update_va_mapping_otherdomain`.
    pub(super) fn update_va_mapping_otherdomain(&mut self, call: &mut Call<'_>) -> Answer {
        let [va, entry, flags, domain, ..] = call.args;
        let mut paging = self.paging(self.budget(call));
        let outcome = paging.update_va_mapping_otherdomain(va, entry, flags, domain as u16);
        self.step = paging.budget();
        self.look_for_last_unmap();
        answer(outcome, call)
    }
}
