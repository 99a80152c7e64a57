//! Shadow paging: the page tables that the processor walks for a guest that has no idea of it.
//!
//! A fully virtualized guest writes page tables as on a machine of its own: with guest-physical addresses, in any
//! frame, whenever it likes. The processor never sees them. It walks *shadow* tables, which are made here, entry by
//! entry, as faults ask for them. The guest's kernel runs in ring 1, which is supervisor, so U/S can be taken over
//! as it is, and CR0.WP and CR4.SMEP, SMAP and PGE are what the hypervisor needs: 1, 0, 0 and 0.
//! `docs/shadow-paging.md` explains it from the start.
//!
//! What is kept true, and recounted by the tests:
//!
//! - A shadow entry maps a frame that [`Physical`] named, or names a shadow table, and nothing else.
//! - It allows no more than the guest's entry does, which has A; it allows writing only where that has D.
//! - A frame that is shadowed as a page table, or that the caller marked, is *traced*: no shadow entry lets the guest
//!   write it. A write to it faults, the caller performs it and tells [`Shadow::guest_wrote`], and what was made of the
//!   old entry is gone before the guest runs again. So shadows are always in step with what they shadow.
//! - The exception is a table given up to [`Shadow::untrace`]. The guest writes it unseen, and its shadow goes out of
//!   step exactly as a translation cache does: until the guest's next `invlpg` or load of CR3.
//! - All memory is taken at the start, and each call has a bound that the guest does not set.
//!
//! One [`Shadow`] serves one vcpu.

mod chain;
mod control;
mod entry;
mod fill;
mod frames;
mod pages;
mod physical;
#[cfg(test)]
mod tests;
mod trace;
mod walk;

pub use fill::{Answer, Outcome, TracedWrite};
pub use physical::{Physical, Tables};
pub use trace::TooMany;
pub use walk::{Controls, RESERVED_BIT, Refusal, Rights, Step, Translation, Use, access, probe};

use crate::addr::{Mfn, Pfn, RESERVED_FIRST_SLOT, RESERVED_LAST_SLOT};
use crate::flush::Flush;
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use chain::Nodes;
use frames::Frames;
use pages::Pages;

/// The entries of the hypervisor's slots, 256 to 271, in every root.
pub type Template = [u64; RESERVED_LAST_SLOT - RESERVED_FIRST_SLOT + 1];

/// Fewest frames for tables: a path.
pub const FEWEST_TABLES: usize = 4;
/// Most frames for tables, which bounds how long it takes to give all of them up.
pub const MOST_TABLES: usize = 1024;
/// Frames that can be marked.
pub const MOST_MARKS: usize = 64;
/// Fewest guest frames to remember: those marked, and what a fault asks for.
pub const FEWEST_RECORDS: usize = MOST_MARKS + NEEDED + 1;

/// Most records that a fault adds: its path, and the page at the end.
const NEEDED: usize = 5;
/// Most slots that name a table, and most that let the guest write a frame: one more, and all of them are taken
/// back, to come again by faults. It bounds what giving up a table takes.
const PARENTS: u32 = 64;
const ALIASES: u32 = 64;
/// Most page tables that the guest writes unseen at the same time.
const MOST_LOOSE: usize = 4;

/// What a shadow is made with.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Frames of the hypervisor's for tables, filled with zeros, which [`Shadow::release`] gives back:
    /// [`FEWEST_TABLES`] to [`MOST_TABLES`]. One instruction can need twenty (six pages, each with tables of its
    /// own), so a guest that is to get on needs more than that.
    pub frames: Vec<Mfn>,
    /// How many guest frames can be remembered, as tables or as writable pages; at least [`FEWEST_RECORDS`]. What
    /// they take of the heap, and the tables beside their frames, says [`Pool::heap_bytes`].
    pub records: usize,
    /// Something the guest does not know.
    pub seed: u64,
}

impl Pool {
    /// Bytes of heap that a shadow of so many tables and records takes.
    pub const fn heap_bytes(tables: usize, records: usize) -> usize {
        Nodes::bytes(tables) + Frames::bytes(records)
    }
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Faults that the guest does not hear of: the shadow lacked what its tables allow.
    pub hidden: u64,
    /// Faults that its tables ask for.
    pub faults: u64,
    /// Faults of writes to traced frames.
    pub traced: u64,
    /// Faults on addresses without memory.
    pub mmio: u64,
    /// Faults in the hypervisor's slots.
    pub reserved: u64,
    /// Writes to page tables that were told of.
    pub table_writes: u64,
    /// Shadow tables made.
    pub made: u64,
    /// Shadow tables given up.
    pub given_up: u64,
    /// Shadow entries taken back, those of tables given up all at once not counted.
    pub dropped: u64,
    /// Shadow entries made read-only.
    pub protected: u64,
    /// Loads of CR3.
    pub roots: u64,
    /// Tables that the guest was allowed to write unseen.
    pub untraced: u64,
    /// Times that there were more guest frames to remember than there is room for.
    pub overflows: u64,
}

/// The shadow of a vcpu's page tables.
#[derive(Debug)]
pub struct Shadow {
    pages: Pages,
    nodes: Nodes,
    frames: Frames,
    marked: ArrayVec<Pfn, MOST_MARKS>,
    loose: ArrayVec<Pfn, MOST_LOOSE>,
    /// The number of the current root.
    root: u32,
    cr3: u64,
    controls: Controls,
    template: Template,
    counters: Counters,
    /// The processor may hold a translation that no entry grants any more.
    stale: bool,
}

impl Shadow {
    /// The shadow of a vcpu with these control registers. The pool comes back when it has too few frames, or too many, or
    /// too few records.
    pub fn new(
        tables: &impl Tables,
        pool: Pool,
        template: Template,
        controls: Controls,
        cr3: u64,
    ) -> Result<Self, Pool> {
        let count = pool.frames.len();
        if !(FEWEST_TABLES..=MOST_TABLES).contains(&count) || pool.records < FEWEST_RECORDS {
            return Err(pool);
        }
        let mut shadow = Self {
            pages: Pages::new(pool.frames),
            nodes: Nodes::new(count),
            frames: Frames::new(pool.records, pool.seed),
            marked: ArrayVec::new(),
            loose: ArrayVec::new(),
            root: chain::NONE,
            cr3,
            controls,
            template,
            counters: Counters::default(),
            stale: false,
        };
        shadow.first_root(tables);
        Ok(shadow)
    }

    /// Gives back all frames. No processor may have a root of them loaded.
    pub fn release(self) -> Vec<Mfn> {
        self.pages.tables.iter().map(|table| table.frame).collect()
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What the processors must forget after what was just done.
    fn flush(&mut self) -> Flush {
        if core::mem::take(&mut self.stale) { Flush::DOMAIN } else { Flush::NONE }
    }
}
