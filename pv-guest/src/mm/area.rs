//! The areas of an address space: what may be touched, how, and where pages come from.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bitflags::bitflags;
use paravane_abi::pte::PteFlags;

use crate::backing::FileBacking;
use crate::layout::{USER_END, USER_START};

bitflags! {
    /// What a program may do with a page; the values of `PROT_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Prot: u32 {
        /// Read.
        const READ = 1;
        /// Write.
        const WRITE = 2;
        /// Execute.
        const EXEC = 4;
    }

    /// How a mapping is made; the values of `MAP_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MapFlags: u32 {
        /// Writes are seen by every process that inherits the mapping.
        const SHARED = 0x1;
        /// Writes are the process's own.
        const PRIVATE = 0x2;
        /// At exactly this address, replacing what is there.
        const FIXED = 0x10;
        /// Zeros, not a file.
        const ANONYMOUS = 0x20;
        /// At exactly this address, or not at all.
        const FIXED_NOREPLACE = 0x10_0000;
    }
}

impl Prot {
    /// Flags of a page-table entry. Without READ, WRITE or EXEC the entry is not present.
    pub fn flags(self) -> PteFlags {
        if self.is_empty() {
            return PteFlags::empty();
        }
        let mut flags = PteFlags::PRESENT | PteFlags::USER | PteFlags::ACCESSED;
        flags.set(PteFlags::RW, self.contains(Prot::WRITE));
        flags.set(PteFlags::NX, !self.contains(Prot::EXEC));
        flags
    }
}

/// A file and where in it an area begins.
#[derive(Clone)]
pub struct Backing {
    /// The file.
    pub file: Arc<dyn FileBacking>,
    /// A multiple of the page size.
    pub offset: u64,
}

/// One area; its start is its key in [`Areas`].
#[derive(Clone)]
pub struct Area {
    /// First address past it.
    pub end: u64,
    /// What is allowed.
    pub prot: Prot,
    /// Whether children share its pages instead of copying them.
    pub shared: bool,
    /// Where pages come from; zeros without one.
    pub backing: Option<Backing>,
}

/// Areas by start, never overlapping.
#[derive(Clone, Default)]
pub struct Areas(BTreeMap<u64, Area>);

/// Where automatic placement starts, downwards; the stack is above.
const PLACE_TOP: u64 = 0x7fff_f000_0000;

impl Areas {
    /// The area an address lies in, with its start.
    pub fn find(&self, va: u64) -> Option<(u64, &Area)> {
        self.0.range(..=va).next_back().filter(|(_, area)| va < area.end).map(|(&start, area)| (start, area))
    }

    /// Whether nothing is mapped in a range.
    pub fn is_clear(&self, start: u64, end: u64) -> bool {
        self.0.range(..end).next_back().is_none_or(|(_, area)| area.end <= start)
    }

    /// Whether every page of a range is mapped.
    pub fn covers(&self, start: u64, end: u64) -> bool {
        let mut at = start;
        while at < end {
            match self.find(at) {
                Some((_, area)) => at = area.end,
                None => return false,
            }
        }
        true
    }

    /// Whether a range holds part of a file mapping that is not copied on writing.
    pub fn shares_file(&self, start: u64, end: u64) -> bool {
        let first = self.find(start).map_or(start, |(start, _)| start);
        self.0.range(first..end).any(|(_, area)| area.shared && area.backing.is_some())
    }

    /// The highest free range of this length below the stack.
    pub fn place(&self, len: u64) -> Option<u64> {
        let mut top = PLACE_TOP;
        for (&start, area) in self.0.range(..PLACE_TOP).rev() {
            if area.end <= top && top - area.end >= len {
                break;
            }
            top = top.min(start);
        }
        top.checked_sub(len).filter(|&start| start >= USER_START && self.is_clear(start, start + len))
    }

    /// Adds an area to a clear range, joined with an anonymous neighbour below where they are alike.
    pub fn insert(&mut self, start: u64, area: Area) {
        debug_assert!(self.is_clear(start, area.end) && area.end <= USER_END);
        if area.backing.is_none() {
            let below = self.0.range_mut(..start).next_back();
            if let Some((_, below)) = below.filter(|(_, below)| {
                below.end == start
                    && below.backing.is_none()
                    && below.prot == area.prot
                    && below.shared == area.shared
            }) {
                below.end = area.end;
                return;
            }
        }
        self.0.insert(start, area);
    }

    /// Makes an address the boundary of two areas if it lies inside one.
    fn split(&mut self, at: u64) {
        let Some((start, area)) = self.find(at).map(|(start, area)| (start, area.clone())) else { return };
        if start == at {
            return;
        }
        let mut upper = area;
        if let Some(backing) = &mut upper.backing {
            backing.offset += at - start;
        }
        if let Some(lower) = self.0.get_mut(&start) {
            lower.end = at;
        }
        self.0.insert(at, upper);
    }

    fn starts(&self, start: u64, end: u64) -> Vec<u64> {
        self.0.range(start..end).map(|(&key, _)| key).collect()
    }

    /// Removes a range.
    pub fn remove(&mut self, start: u64, end: u64) {
        self.split(start);
        self.split(end);
        for key in self.starts(start, end) {
            self.0.remove(&key);
        }
    }

    /// Changes what is allowed in a range.
    pub fn protect(&mut self, start: u64, end: u64, prot: Prot) {
        self.split(start);
        self.split(end);
        for key in self.starts(start, end) {
            if let Some(area) = self.0.get_mut(&key) {
                area.prot = prot;
            }
        }
    }

    /// All areas, by address.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Area)> {
        self.0.iter().map(|(&start, area)| (start, area))
    }
}

#[cfg(test)]
#[path = "area_tests.rs"]
mod tests;
