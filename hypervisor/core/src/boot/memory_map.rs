//! Physical memory: which ranges are RAM, which of them are taken, and the frames that the hypervisor
//! takes for itself before the frame table exists.

use alloc::vec::Vec;

/// Bytes in a frame.
pub const FRAME_SIZE: u64 = 4096;

/// Where real-mode code can run: below the video memory.
const REAL_MODE_END: u64 = 0xa_0000;

/// The end of what firmware and processors' start keep for themselves.
const FIRST_MIB: u64 = 1 << 20;

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

    /// The largest frame-aligned range in `[start, start + size)`; empty where `end` is not above `start`.
    fn within(start: u64, size: u64) -> Self {
        let end = start.saturating_add(size) & !(FRAME_SIZE - 1);
        Self { start: start.saturating_add(FRAME_SIZE - 1) & !(FRAME_SIZE - 1), end }
    }

    /// What both ranges cover.
    pub fn intersection(&self, other: &Range) -> Option<Range> {
        let part = Range { start: self.start.max(other.start), end: self.end.min(other.end) };
        (part.start < part.end).then_some(part)
    }

    fn overlaps(&self, other: &Range) -> bool {
        self.start < other.end && other.start < self.end
    }

    fn is_empty(&self) -> bool {
        self.start >= self.end
    }
}

/// An entry of a boot loader's memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// Whether it is ordinary memory.
    pub ram: bool,
}

/// The RAM of a memory map, sorted and disjoint. Firmware's maps overlap and come in any order; where an entry says
/// RAM and another does not, it is none, to the last frame that the other touches.
pub fn usable(entries: impl Iterator<Item = Entry>) -> Vec<Range> {
    let (mut ram, mut holes) = (Vec::new(), Vec::new());
    for entry in entries {
        let (list, range) = match entry.ram {
            true => (&mut ram, Range::within(entry.start, entry.size)),
            false if entry.size == 0 => continue,
            false => (&mut holes, Range::covering(entry.start, entry.size)),
        };
        if !range.is_empty() {
            list.push(range);
        }
    }
    subtract(&merge(ram), &merge(holes))
}

/// Sorts ranges and joins those that touch.
fn merge(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// What is left of sorted, disjoint ranges when others of that kind are taken away.
fn subtract(ranges: &[Range], holes: &[Range]) -> Vec<Range> {
    let mut left = Vec::with_capacity(ranges.len());
    let mut holes = holes.iter().peekable();
    for range in ranges {
        let mut start = range.start;
        while let Some(hole) = holes.peek() {
            if hole.start >= range.end {
                break;
            }
            if start < hole.start {
                left.push(Range { start, end: hole.start });
            }
            start = start.max(hole.end);
            if hole.end > range.end {
                break;
            }
            holes.next();
        }
        if start < range.end {
            left.push(Range { start, end: range.end });
        }
    }
    left
}

/// What the boot loader said of memory, and what has been taken of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryMap {
    ram: Vec<Range>,
    taken: Vec<Range>,
    start_up_frame: Option<u64>,
}

impl MemoryMap {
    /// Takes RAM, sorted and disjoint, and what the boot loader keeps in it. The first MiB is never handed out:
    /// firmware and the application processors' start-up frame live there.
    pub fn new(ram: Vec<Range>, reserved: &[Range]) -> Self {
        let start_up_frame = (FRAME_SIZE..REAL_MODE_END)
            .step_by(FRAME_SIZE as usize)
            .map(|start| Range { start, end: start + FRAME_SIZE })
            .find(|frame| {
                ram.iter().any(|ram| ram.intersection(frame) == Some(*frame))
                    && !reserved.iter().any(|taken| taken.overlaps(frame))
            })
            .map(|frame| frame.start);
        let mut map = Self { ram, taken: Vec::new(), start_up_frame };
        map.reserve(Range { start: 0, end: FIRST_MIB });
        for range in reserved {
            map.reserve(*range);
        }
        map
    }

    /// A frame of RAM that real-mode code can run in and that holds nothing: where application processors start.
    pub fn start_up_frame(&self) -> Option<u64> {
        self.start_up_frame
    }

    /// RAM ranges, sorted.
    pub fn ram(&self) -> &[Range] {
        &self.ram
    }

    /// RAM whose frames can have an owner. The first MiB is device memory to Xen's guests, firmware's tables being among
    /// its RAM, and so it is here: a guest that tries to map it is told the same.
    pub fn ownable(&self) -> impl Iterator<Item = Range> {
        let above = Range { start: FIRST_MIB, end: u64::MAX };
        self.ram.iter().filter_map(move |range| range.intersection(&above))
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
        if range.is_empty() {
            return;
        }
        // Neighbouring early allocations grow downward from one place: keep the list short.
        if let Some(last) = self.taken.iter_mut().find(|taken| taken.start == range.end) {
            last.start = range.start;
            return;
        }
        self.taken.push(range);
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
