//! Direct paging: the guest's own page tables, in machine frames, checked entry by entry.
//!
//! A frame that is in use as a page table was checked, and every change of it is. What is kept true, and
//! counted from scratch by [`crate::audit`]:
//!
//! - a present L1 entry holds a reference of a frame of the domain's, or of one that another domain lends it
//!   ([`crate::grant`]), and a use as writable if it allows writing; a present entry further up holds a
//!   reference and a use as a table one level down;
//! - a pin, and a vcpu's base pointer, hold a reference and a use as the table's level;
//! - no entry has PS, G, or a cache attribute; slots 256 to 271 of an L4 are empty.
//!
//! [`Paging`] is what a hypercall handler works with: the frame table (which the lock guards), the
//! machine, the domain's and the vcpu's part of the state, and a budget. A handler makes one for each
//! call:
//!
//! ```text
//! let mut paging = Paging::new(&mut frames, &machine, &domain.memory, &mut vcpu.paging, Budget::HYPERCALL);
//! match paging.mmu_update(args[0], args[1] as u32, args[2], args[3] as u32) {
//!     CallOutcome::Return(value) => ...,    // RAX
//!     CallOutcome::Continue(args) => ...,   // make the call again with these arguments
//! }
//! ```

mod budget;
mod call;
mod descriptors;
mod entry;
mod grant;
mod ldt;
mod mmuext;
mod ptwr;
mod tables;
mod teardown;
#[cfg(test)]
pub(crate) mod tests;
mod update;
mod validate;

pub use budget::Budget;
pub use call::{CallOutcome, MMU_UPDATE_PREEMPTED};
pub use entry::{PagingPolicy, Pte};
pub(crate) use grant::{GrantPlace, Unmapped};
pub use ldt::{LDT_PAGES, Ldt};
pub use ptwr::PtWrite;
pub use teardown::Teardown;

use crate::addr::{DomainId, Mfn};
use crate::flush::Tlb;
use crate::frame::FrameTable;
use crate::guest_memory::GuestMemory;
use crate::memory::Memory;
use paravane_abi::errno::Errno;
use validate::Validator;

/// A domain's part of the paging state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainMemory {
    /// The domain.
    pub id: DomainId,
    /// Where its kernel runs.
    pub policy: PagingPolicy,
    /// How many vcpus it can have: longer bitmaps of vcpus are cut there. At most 64.
    pub max_vcpus: u32,
}

impl DomainMemory {
    /// A domain of so many vcpus.
    pub const fn new(id: DomainId, policy: PagingPolicy, max_vcpus: u32) -> Self {
        Self { id, policy, max_vcpus }
    }
}

/// A vcpu's part of the paging state. Each table named here is held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VcpuPaging {
    base: Option<Mfn>,
    user_base: Option<Mfn>,
    pending: Option<Mfn>,
    ldt: Ldt,
}

impl VcpuPaging {
    /// A vcpu without tables.
    pub const fn new() -> Self {
        Self { base: None, user_base: None, pending: None, ldt: Ldt::NONE }
    }

    /// As [`Self::new`], with an LDT of which nothing is held yet.
    pub(crate) fn set_first_ldt(&mut self, ldt: Ldt) {
        debug_assert!(self.ldt == Ldt::NONE, "it has one");
        self.ldt = ldt;
    }

    /// The LDT.
    #[inline]
    pub const fn ldt(&self) -> &Ldt {
        &self.ldt
    }

    /// The L4 the guest's kernel runs on: a reference and a use are held.
    #[inline]
    pub const fn base(&self) -> Option<Mfn> {
        self.base
    }

    /// The L4 the guest's programs run on, where they have their own: a reference and a use are held.
    #[inline]
    pub const fn user_base(&self) -> Option<Mfn> {
        self.user_base
    }

    /// A table this vcpu still has to finish releasing before its next paging operation: a reference is
    /// held.
    #[inline]
    pub const fn pending(&self) -> Option<Mfn> {
        self.pending
    }
}

/// Whose pages an L1 entry is to map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapOwner {
    /// The domain's own.
    Own,
    /// Device memory (`DOMID_IO`), of which no domain may map any yet.
    Io,
}

/// Why an operation did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpError {
    /// It was refused, and nothing changed (but see [`VcpuPaging::pending`]).
    Refused(Errno),
    /// The budget is spent. Doing the same again goes on where this stopped.
    Again,
}

impl From<Errno> for OpError {
    fn from(error: Errno) -> Self {
        Self::Refused(error)
    }
}

/// Everything one paging operation works on. See the module's text.
pub struct Paging<'a, M> {
    frames: &'a mut FrameTable,
    machine: &'a M,
    domain: &'a DomainMemory,
    vcpu: &'a mut VcpuPaging,
    budget: Budget,
    /// The vcpu is on this CPU, which runs on a copy of its base table.
    loaded: bool,
}

impl<'a, M: Memory + Tlb> Paging<'a, M> {
    /// For one call of one vcpu.
    #[inline]
    pub fn new(
        frames: &'a mut FrameTable,
        machine: &'a M,
        domain: &'a DomainMemory,
        vcpu: &'a mut VcpuPaging,
        budget: Budget,
    ) -> Self {
        Self { frames, machine, domain, vcpu, budget, loaded: true }
    }

    /// For a vcpu that no CPU runs: its base tables change without a CPU's being told.
    pub fn at_rest(
        frames: &'a mut FrameTable,
        machine: &'a M,
        domain: &'a DomainMemory,
        vcpu: &'a mut VcpuPaging,
        budget: Budget,
    ) -> Self {
        Self { loaded: false, ..Self::new(frames, machine, domain, vcpu, budget) }
    }

    /// The memory of the vcpu's kernel. None before it has a base table.
    #[inline]
    pub fn guest_memory(&self) -> Option<GuestMemory<'_, M>> {
        Some(GuestMemory::kernel(self.frames, self.machine, self.domain.id, self.vcpu.base?))
    }

    /// The frame table.
    pub fn frames(&mut self) -> &mut FrameTable {
        self.frames
    }

    /// What is left of the budget.
    pub fn budget(&self) -> Budget {
        self.budget
    }

    fn validator(&mut self) -> (Validator<'_, M>, &mut Budget) {
        let Self { frames, machine, domain, budget, .. } = self;
        (Validator { frames, machine, domain }, budget)
    }
}
