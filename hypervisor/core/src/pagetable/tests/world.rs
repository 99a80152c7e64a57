//! A small machine with two domains, the first of which has two vcpus.

use crate::addr::{DomainId, Level, Mfn, PAGE_SIZE};
use crate::audit::{AuditDomain, Discrepancy, Holding, audit};
use crate::fake_machine::FakeMachine;
use crate::frame::{FrameInfo, FrameTable};
use crate::guest_memory::GuestMemory;
use crate::memory::Memory;
use crate::pagetable::{Budget, DomainMemory, OpError, Paging, PagingPolicy, Pte, VcpuPaging};
use paravane_abi::errno::Errno;
use std::vec::Vec;

/// Flags of a page that the kernel may read and write.
pub(crate) const RW: u64 = Pte::P | Pte::RW | Pte::US;
/// Flags of a page that the kernel may read.
pub(crate) const RO: u64 = Pte::P | Pte::US;
/// Where [`World::boot`] maps its pages: slot 1 of the L4, slot 0 further down.
pub(crate) const BASE: u64 = 1 << 39;

pub(crate) struct World {
    pub machine: FakeMachine,
    pub frames: FrameTable,
    pub domain: DomainMemory,
    pub other: DomainMemory,
    pub vcpus: [VcpuPaging; 2],
    pub holdings: Vec<Holding>,
}

/// One table of each level, and the pages the L1 maps.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pub l4: Mfn,
    pub l3: Mfn,
    pub l2: Mfn,
    pub l1: Mfn,
    pub pages: Vec<Mfn>,
}

pub(crate) fn refused<T>(error: Errno) -> Result<T, OpError> {
    Err(OpError::Refused(error))
}

impl World {
    pub fn new(policy: PagingPolicy) -> Self {
        let (machine, mut frames) = FakeMachine::with_frames(64, 2, 4);
        let domain = DomainMemory::new(DomainId(1), policy, 2);
        let other = DomainMemory::new(DomainId(2), policy, 1);
        assert!(frames.open_account(domain.id, 50) && frames.open_account(other.id, 5));
        Self { machine, frames, domain, other, vcpus: Default::default(), holdings: Vec::new() }
    }

    pub fn ring1() -> Self {
        Self::new(PagingPolicy::Ring1)
    }

    /// The paging of a vcpu, with so many steps.
    pub fn on(&mut self, vcpu: usize, steps: u32) -> Paging<'_, FakeMachine> {
        self.machine.switch_to(vcpu);
        let Self { machine, frames, domain, vcpus, .. } = self;
        Paging::new(frames, machine, domain, &mut vcpus[vcpu], Budget::new(steps))
    }

    /// The paging of the first vcpu, with all the steps a hypercall gets.
    pub fn paging(&mut self) -> Paging<'_, FakeMachine> {
        self.on(0, 1 << 20)
    }

    pub fn page(&mut self) -> Mfn {
        self.frames.alloc_domain(&self.machine, self.domain.id).unwrap()
    }

    pub fn foreign_page(&mut self) -> Mfn {
        self.frames.alloc_domain(&self.machine, self.other.id).unwrap()
    }

    pub fn info(&self, frame: Mfn) -> FrameInfo {
        *self.frames.info(frame).unwrap()
    }

    pub fn entry(&self, table: Mfn, index: usize) -> Pte {
        Pte(self.machine.read_word(table, index))
    }

    /// Writes an entry as a guest does before the page is a table.
    pub fn set(&mut self, table: Mfn, index: usize, frame: Mfn, flags: u64) {
        assert_eq!(self.info(table).type_count(), 0, "{table} is in use");
        self.machine.poke(table, index, Pte::new(frame, flags).0);
    }

    /// Makes a tree, not yet validated, that maps `pages` pages from [`BASE`] on, writable.
    pub fn tree(&mut self, pages: usize) -> Tree {
        let [l4, l3, l2, l1] = [(); 4].map(|()| self.page());
        self.set(l4, 1, l3, RW);
        self.set(l3, 0, l2, RW);
        self.set(l2, 0, l1, RW);
        let pages: Vec<Mfn> = (0..pages).map(|_| self.page()).collect();
        for (index, &page) in pages.iter().enumerate() {
            self.set(l1, index, page, RW);
        }
        Tree { l4, l3, l2, l1, pages }
    }

    /// Makes a tree and runs the first vcpu on it.
    pub fn boot(&mut self, pages: usize) -> Tree {
        let tree = self.tree(pages);
        assert_eq!(self.paging().pin(tree.l4, Level::L4), Ok(()));
        assert_eq!(self.paging().set_base(tree.l4), Ok(()));
        self.check();
        tree
    }

    pub fn memory(&self) -> GuestMemory<'_, FakeMachine> {
        let base = self.vcpus[0].base().unwrap();
        GuestMemory::kernel(&self.frames, &self.machine, self.domain.id, base)
    }

    /// Repeats an operation, a step at a time, until it is through; returns the result and how often.
    pub fn repeat<T>(
        &mut self,
        mut op: impl FnMut(&mut Paging<'_, FakeMachine>) -> Result<T, OpError>,
    ) -> (Result<T, Errno>, u32) {
        for times in 1..10_000 {
            let result = op(&mut self.on(0, 1));
            self.check();
            match result {
                Ok(value) => return (Ok(value), times),
                Err(OpError::Refused(error)) => return (Err(error), times),
                Err(OpError::Again) => {}
            }
        }
        panic!("no end");
    }

    pub fn audit(&self) -> Vec<Discrepancy> {
        let vcpus: Vec<&VcpuPaging> = self.vcpus.iter().collect();
        let domains = [
            AuditDomain { memory: &self.domain, vcpus: &vcpus, holdings: &self.holdings },
            AuditDomain { memory: &self.other, vcpus: &[], holdings: &[] },
        ];
        audit(&self.frames, &self.machine, &domains)
    }

    /// Nothing is miscounted, and nothing stale is left after every CPU cached what it can.
    #[track_caller]
    pub fn check(&self) {
        assert_eq!(self.audit(), []);
        self.machine.fill();
        assert_eq!(self.machine.stale(&self.frames), []);
    }

    /// The address of a word in the pages of [`Self::boot`].
    pub fn word(page: usize, index: usize) -> u64 {
        BASE + (page * PAGE_SIZE + index * 8) as u64
    }
}
