//! A page fault that the processor took on the shadow tables.

use super::Shadow;
use super::chain::Place;
use super::entry::Role;
use super::pages::Key;
use super::physical::{Physical, Tables};
use super::walk::{Refusal, Translation, Use};
use crate::addr::{ENTRIES, Level, Mfn, PAGE_SHIFT, Pfn, VirtAddr};
use crate::flush::Flush;
use crate::guest_memory::Access;
use crate::pagetable::Pte;

/// A write to a frame whose writes are to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TracedWrite {
    /// Where: the guest-physical address that the faulting address leads to.
    pub address: u64,
    /// The frame is a page table, in step.
    pub table: bool,
    /// The frame was marked.
    pub marked: bool,
    /// Writes to it since it was last used as a table: many, and it probably is none any more.
    pub writes: u32,
}

/// What a fault comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest's tables allow the access, and now the shadow does: run the guest again.
    Retry,
    /// The guest's tables refuse it: inject #PF with this error code.
    Fault(u32),
    /// The guest's tables allow it, and the write must be seen. A and D are set: emulate it and tell
    /// [`Shadow::guest_wrote`], or [`Shadow::untrace`] the frame.
    TracedWrite(TracedWrite),
    /// The guest's tables allow it, and there is no memory at this guest-physical address. A and D are set.
    Mmio(u64),
    /// The address lies in the hypervisor's slots, where the guest's entries count for nothing.
    Reserved,
}

/// What a fault comes to, and what the processors must forget before the guest runs again.
#[must_use = "a stale translation lets the guest write a page table unseen"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What to do.
    pub outcome: Outcome,
    /// What to forget.
    pub flush: Flush,
}

impl Shadow {
    /// Decides what a page fault is, and fills in what the access needs, if it is one that the guest must not see.
    /// The access is the one that the processor's error code tells ([`Use::from_error_code`]).
    pub fn fault(&mut self, machine: &(impl Physical + Tables), address: VirtAddr, usage: Use) -> Answer {
        let outcome = self.outcome(machine, address, usage);
        let counter = match outcome {
            Outcome::Retry => &mut self.counters.hidden,
            Outcome::Fault(_) => &mut self.counters.faults,
            Outcome::TracedWrite(_) => &mut self.counters.traced,
            Outcome::Mmio(_) => &mut self.counters.mmio,
            Outcome::Reserved => &mut self.counters.reserved,
        };
        *counter += 1;
        Answer { outcome, flush: self.flush() }
    }

    fn outcome(&mut self, machine: &(impl Physical + Tables), address: VirtAddr, usage: Use) -> Outcome {
        if !VirtAddr::is_guest(address.get()) {
            return Outcome::Reserved;
        }
        let translation = match self.access(machine, address, usage) {
            Ok(translation) => translation,
            Err(Refusal::Fault(code)) => return Outcome::Fault(code),
            Err(Refusal::Contended) => return Outcome::Retry,
        };
        let pfn = Pfn::new(translation.address >> PAGE_SHIFT);
        let Some(frame) = machine.frame(pfn) else { return Outcome::Mmio(translation.address) };
        self.make_room(machine);
        let page = Page { pfn, frame, writes: usage.access == Access::Write && !usage.user };
        self.fill(machine, address, &translation, page);
        if usage.access == Access::Write && usage.user && self.is_traced(pfn) {
            // What a program writes is no page table, or none that anyone relies on.
            self.stale |= self.untrace(machine, pfn) != Flush::NONE;
            self.fill(machine, address, &translation, page);
        }
        match self.frames.of(pfn) {
            Some(record) if usage.access == Access::Write && record.traced() => {
                let table = record.shadowed > 0 && !record.loose;
                let address = translation.address;
                Outcome::TracedWrite(TracedWrite {
                    address,
                    table,
                    marked: record.marked,
                    writes: record.writes,
                })
            }
            _ => Outcome::Retry,
        }
    }

    /// Makes the shadow entries on a path.
    fn fill(&mut self, tables: &impl Tables, address: VirtAddr, translation: &Translation, page: Page) {
        let mut at = Walk { table: self.root, role: self.root_role(), address };
        self.pages.touch(self.root);
        for step in &translation.path {
            let record = self.pages.table(at.table).record;
            self.frames.record_mut(record).writes = 0;
            if step.level == Level::L1 {
                self.fill_leaf(tables, at, Some(step.entry), page);
                return;
            }
            if step.is_leaf() {
                self.fill_large(tables, at, step.level, step.entry, page);
                return;
            }
            let Some(level) = step.level.below() else { return };
            let (flags, role) = (at.role.upper(step.entry, false), at.role.below(step.entry));
            let pfn = Pfn::new((step.entry.0 & Pte::FRAME) >> PAGE_SHIFT);
            let key = Key { pfn, level, split: false, role };
            let Some(next) = self.descend(tables, at, step.level, key, flags) else { return };
            at = next;
        }
    }

    /// The part of a path below the entry of a large page, which is mapped by tables of small ones: the guest's frames
    /// need not be neighbours in the machine, and each is traced by itself.
    fn fill_large(&mut self, tables: &impl Tables, at: Walk, level: Level, entry: Pte, page: Page) {
        let mut flags = at.role.upper(entry, true);
        let mut at = Walk { role: at.role.below(entry), ..at };
        let mut level = level;
        while let Some(below) = level.below() {
            // The first frame of what the table maps.
            let pfn = Pfn::new(page.pfn.get() & !((1 << (level.shift() - PAGE_SHIFT)) - 1));
            let key = Key { pfn, level: below, split: true, role: at.role };
            let Some(next) = self.descend(tables, at, level, key, flags) else { return };
            (at, level, flags) = (next, below, Role::BETWEEN);
        }
        self.fill_leaf(tables, at, None, page);
    }

    fn descend(
        &mut self,
        tables: &impl Tables,
        at: Walk,
        level: Level,
        key: Key,
        flags: u64,
    ) -> Option<Walk> {
        let child = self.obtain(tables, key)?;
        self.set_upper(tables, at.place(level), child, flags);
        Some(Walk { table: child, role: key.role, ..at })
    }

    fn fill_leaf(&mut self, tables: &impl Tables, at: Walk, entry: Option<Pte>, page: Page) {
        let traced = self.is_traced(page.pfn);
        let flags = at.role.leaf(entry, traced, page.writes);
        self.set_leaf(tables, at.place(Level::L1), page.pfn, Pte::new(page.frame, flags));
    }

    fn root_role(&self) -> Role {
        self.root_key().role
    }
}

/// The page at the end of a path.
#[derive(Clone, Copy)]
struct Page {
    pfn: Pfn,
    frame: Mfn,
    /// The kernel writes it.
    writes: bool,
}

/// A place on a path.
#[derive(Clone, Copy)]
struct Walk {
    table: u32,
    role: Role,
    address: VirtAddr,
}

impl Walk {
    fn place(self, level: Level) -> Place {
        Place { table: self.table, slot: self.address.slot(level) % ENTRIES }
    }
}
