//! Counting everything again, from the contents of the tables.
//!
//! Nothing here looks at a count to decide what a count should be: the references and uses of every frame
//! are derived from the page tables, pins, base pointers, partial states and the caller's list of what
//! else it holds, and then compared. Tests do it after every step, debug builds when a domain dies.

mod count;
#[cfg(test)]
mod tests;

use crate::addr::{DomainId, Level, Mfn};
use crate::frame::{FrameTable, FrameType};
use crate::grant::{GrantTable, Wrong};
use crate::memory::Memory;
use crate::pagetable::{DomainMemory, VcpuPaging};
use alloc::vec::Vec;
use core::fmt;

/// What the hypervisor holds of a frame besides what the paging state tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// A reference.
    Reference(Mfn),
    /// A reference and a use as writable (`vcpu_info`).
    Writable(Mfn),
    /// A reference and a use as descriptors (a GDT page).
    Descriptors(Mfn),
}

/// A domain, for the audit.
#[derive(Clone, Copy, Debug)]
pub struct AuditDomain<'a> {
    /// The domain.
    pub memory: &'a DomainMemory,
    /// All its vcpus.
    pub vcpus: &'a [&'a VcpuPaging],
    /// What else is held of its frames.
    pub holdings: &'a [Holding],
}

/// Something that does not add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discrepancy {
    /// A frame has another number of references than there are.
    References {
        /// The frame.
        frame: Mfn,
        /// What its record says.
        recorded: u32,
        /// What was counted.
        counted: u64,
    },
    /// A frame has another number of uses than there are.
    Uses {
        /// The frame.
        frame: Mfn,
        /// Its type.
        kind: FrameType,
        /// What its record says.
        recorded: u32,
        /// What was counted, of that type.
        counted: u64,
    },
    /// A frame is used as something else than its type.
    WrongUse {
        /// The frame.
        frame: Mfn,
        /// Its type.
        kind: FrameType,
        /// What it is used as.
        used_as: FrameType,
    },
    /// A frame's record contradicts itself.
    Record {
        /// The frame.
        frame: Mfn,
        /// How.
        what: &'static str,
    },
    /// An entry of a checked table should not be there.
    Entry {
        /// The table.
        table: Mfn,
        /// Its level.
        level: Level,
        /// The entry's index.
        index: usize,
        /// The entry.
        entry: u64,
        /// Why.
        what: &'static str,
    },
    /// A domain's account says another number of frames than it has.
    Account {
        /// The domain.
        domain: DomainId,
        /// What the account says.
        recorded: u64,
        /// What was counted.
        counted: u64,
    },
    /// A grant's uses are not the mappings on record, or the like.
    Grant(Wrong),
    /// A domain has more frames than it may have.
    OverMax(DomainId),
    /// All domains are gone, and not every frame came back.
    Baseline {
        /// Free before there was a domain.
        before: u64,
        /// Free now.
        after: u64,
    },
    /// The free list has another length than the number of free frames.
    FreeList {
        /// What the table says.
        recorded: u64,
        /// What the list has.
        listed: u64,
        /// How many frames are free.
        counted: u64,
    },
}

impl fmt::Display for Discrepancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::References { frame, recorded, counted } => {
                write!(f, "frame {frame}: {recorded} references recorded, {counted} counted")
            }
            Self::Uses { frame, kind, recorded, counted } => {
                write!(f, "frame {frame}: {recorded} uses as {kind:?} recorded, {counted} counted")
            }
            Self::WrongUse { frame, kind, used_as } => {
                write!(f, "frame {frame} is {kind:?} and used as {used_as:?}")
            }
            Self::Record { frame, what } => write!(f, "frame {frame}: {what}"),
            Self::Entry { table, level, index, entry, what } => {
                write!(f, "{level:?} table {table}, entry {index} ({entry:#x}): {what}")
            }
            Self::Account { domain, recorded, counted } => {
                write!(f, "{domain}: account says {recorded} frames, it has {counted}")
            }
            Self::Grant(wrong) => wrong.fmt(f),
            Self::Baseline { before, after } => {
                write!(f, "{after} frames are free after the last domain, {before} were before the first")
            }
            Self::OverMax(domain) => write!(f, "{domain} has more frames than it may"),
            Self::FreeList { recorded, listed, counted } => {
                write!(f, "free list: {recorded} frames recorded, {listed} listed, {counted} frames are free")
            }
        }
    }
}

/// Counts everything again and lists what differs. `domains` are all domains that have an account; none has
/// grants.
pub fn audit<M: Memory>(frames: &FrameTable, machine: &M, domains: &[AuditDomain<'_>]) -> Vec<Discrepancy> {
    count::run(frames, machine, domains, &[])
}

/// As [`audit`], with the grant tables of all domains, including those whose end is not complete.
pub fn audit_with_grants<M: Memory>(
    frames: &FrameTable,
    machine: &M,
    domains: &[AuditDomain<'_>],
    grants: &[&GrantTable],
) -> Vec<Discrepancy> {
    count::run(frames, machine, domains, grants)
}
