//! Physical memory: which ranges are RAM, which of them are taken, and the frames that the hypervisor
//! takes for itself before the frame table exists.

use arrayvec::ArrayVec;
use paravane_abi::pvh::{HvmMemmapTableEntry, XEN_HVM_MEMMAP_TYPE_RAM};

/// Bytes in a frame.
pub const FRAME_SIZE: u64 = 4096;

/// A range of physical addresses, frame-aligned, `start` inclusive and `end` exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

impl Range {
    /// The smallest frame-aligned range that contains `[start, start + size)`.
    pub fn covering(start: u64, size: u64) -> Self {
        let end = start.saturating_add(size).saturating_add(FRAME_SIZE - 1) & !(FRAME_SIZE - 1);
        Self { start: start & !(FRAME_SIZE - 1), end }
    }

    /// What both ranges cover.
    pub fn intersection(&self, other: &Range) -> Option<Range> {
        let part = Range { start: self.start.max(other.start), end: self.end.min(other.end) };
        (part.start < part.end).then_some(part)
    }

    fn overlaps(&self, other: &Range) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// What the boot loader said of memory, and what has been taken of it.
pub struct MemoryMap {
    ram: ArrayVec<Range, 32>,
    taken: ArrayVec<Range, 64>,
}

impl MemoryMap {
    /// Reads PVH's memory map; ranges that are not RAM are left out. The first MiB is never used: firmware
    /// and the application processors' start-up page live there.
    pub fn new(entries: &[HvmMemmapTableEntry]) -> Self {
        let mut map = Self { ram: ArrayVec::new(), taken: ArrayVec::new() };
        for entry in entries.iter().filter(|entry| entry.kind == XEN_HVM_MEMMAP_TYPE_RAM) {
            let start = entry.addr.saturating_add(FRAME_SIZE - 1) & !(FRAME_SIZE - 1);
            let end = entry.addr.saturating_add(entry.size) & !(FRAME_SIZE - 1);
            if start < end && map.ram.try_push(Range { start, end }).is_err() {
                log::warn!(
                    "memory map: more than {} RAM ranges, the rest is left unused",
                    map.ram.capacity()
                );
                break;
            }
        }
        map.reserve(Range { start: 0, end: 1 << 20 });
        map
    }

    /// RAM ranges in the loader's order.
    pub fn ram(&self) -> &[Range] {
        &self.ram
    }

    /// What has been taken.
    pub fn taken(&self) -> &[Range] {
        &self.taken
    }

    /// One past the highest RAM address.
    pub fn end(&self) -> u64 {
        self.ram.iter().map(|range| range.end).max().unwrap_or(0)
    }

    /// Total bytes of RAM.
    pub fn total(&self) -> u64 {
        self.ram.iter().map(|range| range.end - range.start).sum()
    }

    /// Marks a range as taken.
    pub fn reserve(&mut self, range: Range) {
        if range.start >= range.end {
            return;
        }
        // Neighbouring early allocations grow downward from one place: keep the list short.
        if let Some(last) = self.taken.iter_mut().find(|taken| taken.start == range.end) {
            last.start = range.start;
            return;
        }
        assert!(self.taken.try_push(range).is_ok(), "too many reserved ranges");
    }

    /// Takes `bytes` of contiguous RAM, `align`-aligned, from the top of the highest range that has it below
    /// 4 GiB (the boot page tables reach no further). `None` when there is none.
    pub fn allocate(&mut self, bytes: u64, align: u64) -> Option<u64> {
        let mut best: Option<u64> = None;
        for ram in &self.ram {
            let mut end = ram.end.min(1 << 32);
            while let Some(start) = end.checked_sub(bytes).map(|start| start & !(align - 1)) {
                if start < ram.start {
                    break;
                }
                let wanted = Range { start, end: start + bytes };
                match self.taken.iter().find(|taken| taken.overlaps(&wanted)) {
                    Some(taken) => end = taken.start,
                    None => {
                        best = best.max(Some(start));
                        break;
                    }
                }
            }
        }
        let start = best?;
        self.reserve(Range { start, end: start + bytes });
        Some(start)
    }
}
