//! Where everything lies when a PV domain starts: Xen's start-of-day layout (`xen/xen.h`, "start-of-day memory
//! layout", and the domain builder of Xen 4.17).
//!
//! From VIRT_BASE upward, page by page: kernel, ramdisk (if the kernel wants it mapped), p2m (unless INIT_P2M),
//! start info, xenstore page, console page, page tables, boot stack, padding. Guest frame n is mapped at
//! VIRT_BASE + n pages throughout. Past the mapping follow, as guest frames only, an unmapped ramdisk, and the
//! p2m, then the tables that map it at INIT_P2M. As by Xen's tools, that note counts when it names a page below VIRT_BASE.
//!
//! All of it is arithmetic: nothing here touches memory.

use alloc::vec::Vec;
use core::fmt;

use super::elf::KernelNotes;
use crate::addr::{Level, PAGE_SHIFT, PAGE_SIZE, Pfn, VirtAddr};

const PAGE: u64 = PAGE_SIZE as u64;
/// The end of the mapping is a multiple of this.
const END_ALIGN: u64 = 4 << 20;
/// Least padding after the boot stack.
const PADDING_MIN: u64 = 512 << 10;
/// Bits of a virtual address that translation uses.
const VA_MASK: u64 = (1 << 48) - 1;

/// Why a kernel does not fit its domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// VIRT_BASE is not at a page boundary.
    BaseAlignment(u64),
    /// The initial mapping, or the p2m at INIT_P2M, leaves the part of the address space a guest may use.
    Reserved(u64),
    /// INIT_P2M overlaps the initial mapping.
    P2mOverlap(u64),
    /// HYPERCALL_PAGE is not a page of the initial mapping.
    HypercallPage(u64),
    /// The domain is too small.
    Memory {
        /// Pages needed at least.
        need: u64,
        /// Pages it has.
        have: u64,
    },
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BaseAlignment(va) => write!(f, "kernel: VIRT_BASE {va:#x} is not at a page boundary"),
            Self::Reserved(va) => {
                write!(f, "kernel: the mapping at {va:#x} leaves the addresses a guest may use")
            }
            Self::P2mOverlap(va) => write!(f, "kernel: INIT_P2M {va:#x} overlaps the initial mapping"),
            Self::HypercallPage(va) => {
                write!(f, "kernel: HYPERCALL_PAGE {va:#x} is not a page of the initial mapping")
            }
            Self::Memory { need, have } => {
                write!(f, "the domain has {have} pages, but its kernel and ramdisk need {need}")
            }
        }
    }
}

impl core::error::Error for LayoutError {}

/// Page tables of one level that map neighbouring addresses, in neighbouring guest frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    level: Level,
    /// The first table's number: its first address divided by what one table of the level maps.
    first: u64,
    count: u64,
    pfn: u64,
}

/// A page table of the initial mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its level.
    pub level: Level,
    /// The guest frame it occupies.
    pub pfn: Pfn,
    /// Bits 0 to 47 of the first address it maps.
    pub first_va: u64,
}

/// The ramdisk's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramdisk {
    /// First guest frame.
    pub pfn: Pfn,
    /// Virtual address, if it is mapped.
    pub va: Option<u64>,
    /// Bytes.
    pub len: u64,
}

/// The layout of one domain at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// First mapped address: VIRT_BASE.
    pub v_start: u64,
    /// First address past the mapping.
    pub v_end: u64,
    /// The ramdisk, if there is one.
    pub ramdisk: Option<Ramdisk>,
    /// Address of the p2m.
    pub p2m: u64,
    /// First guest frame of the p2m's contents.
    pub p2m_pfn: Pfn,
    /// With INIT_P2M, the guest frames behind it, contents first, then tables: start and number (`first_p2m_pfn`,
    /// `nr_p2m_frames`).
    pub p2m_frames: Option<(Pfn, u64)>,
    /// Address of the start-info page.
    pub start_info: u64,
    /// Address of the xenstore page.
    pub xenstore: u64,
    /// Address of the console page.
    pub console: u64,
    /// Address of the page tables, the L4 first.
    pub page_tables: u64,
    /// Number of frames from there that are page tables of the initial mapping (`nr_pt_frames`).
    pub nr_page_tables: u64,
    /// Address of the boot stack's end.
    pub stack_end: u64,
    /// Guest frames of the domain.
    pub nr_pages: u64,
    runs: Vec<Run>,
}

impl Layout {
    /// Lays out a domain of `nr_pages` guest frames. `ramdisk_len` of 0 means there is no ramdisk.
    pub fn plan(notes: &KernelNotes, ramdisk_len: u64, nr_pages: u64) -> Result<Self, LayoutError> {
        let v_start = notes.virt_base;
        if !v_start.is_multiple_of(PAGE) {
            return Err(LayoutError::BaseAlignment(v_start));
        }
        let too_high = LayoutError::Reserved(v_start);
        let memory = |need: u64| LayoutError::Memory { need, have: nr_pages };
        // Sizes first, in pages above VIRT_BASE, so that absurd ones end here and nothing below overflows.
        let kernel = pages(notes.virt_end - v_start);
        let ramdisk = pages(ramdisk_len);
        let p2m = nr_pages.checked_mul(8).map(pages).ok_or(too_high)?;
        let (mapped_ramdisk, loose_ramdisk) = if notes.mod_start_pfn { (0, ramdisk) } else { (ramdisk, 0) };
        let init_p2m = notes.init_p2m.filter(|va| *va < v_start && va.is_multiple_of(PAGE));
        let mapped_p2m = if init_p2m.is_some() { 0 } else { p2m };
        let need = [kernel, ramdisk, p2m].iter().try_fold(0u64, |sum, &part| sum.checked_add(part));
        if need.is_none_or(|need| need > nr_pages) || nr_pages == 0 {
            return Err(memory(need.unwrap_or(u64::MAX).max(1)));
        }

        let page = |index: u64| v_start.checked_add(index << PAGE_SHIFT).ok_or(too_high);
        let p2m_index = kernel + mapped_ramdisk;
        let start_info = p2m_index + mapped_p2m;
        let tables_index = start_info + 3;
        // The number of page tables depends on the end of the mapping, and the end on the number of page tables.
        // Both only grow, and each step needs at least one table more, so this ends.
        let mut nr_page_tables = 1;
        let (v_end, mut runs) = loop {
            let stack_end = page(tables_index + nr_page_tables + 1)?;
            let mut end = stack_end.checked_next_multiple_of(END_ALIGN).ok_or(too_high)?;
            if end - stack_end < PADDING_MIN {
                end = end.checked_add(END_ALIGN).ok_or(too_high)?;
            }
            let runs = runs_for(v_start, end - 1, &[], tables_index);
            let needed = runs.iter().map(|run| run.count).sum();
            if needed <= nr_page_tables {
                break (end, runs);
            }
            nr_page_tables = needed;
        };
        check_range(v_start, v_end - 1)?;

        // What follows the mapping has frame numbers but no addresses yet.
        let mapped = (v_end - v_start) >> PAGE_SHIFT;
        let mut next = mapped + loose_ramdisk;
        let mut p2m_pfn = p2m_index;
        let mut p2m_frames = None;
        if let Some(va) = init_p2m {
            let tables = place_p2m(va, p2m, (v_start, v_end), &runs, next + p2m)?;
            let nr_tables: u64 = tables.iter().map(|run| run.count).sum();
            p2m_frames = Some((Pfn::new(next), p2m + nr_tables));
            p2m_pfn = next;
            next += p2m + nr_tables;
            runs.extend(tables);
        }
        if next > nr_pages {
            return Err(memory(next));
        }
        if let Some(va) = notes.hypercall_page
            && (!va.is_multiple_of(PAGE) || !(v_start..v_end).contains(&va))
        {
            return Err(LayoutError::HypercallPage(va));
        }
        let ramdisk = (ramdisk_len != 0).then(|| match loose_ramdisk {
            0 => Ramdisk {
                pfn: Pfn::new(kernel),
                va: Some(v_start + (kernel << PAGE_SHIFT)),
                len: ramdisk_len,
            },
            _ => Ramdisk { pfn: Pfn::new(mapped), va: None, len: ramdisk_len },
        });
        Ok(Self {
            v_start,
            v_end,
            ramdisk,
            p2m: init_p2m.unwrap_or(page(p2m_index)?),
            p2m_pfn: Pfn::new(p2m_pfn),
            p2m_frames,
            start_info: page(start_info)?,
            xenstore: page(start_info + 1)?,
            console: page(start_info + 2)?,
            page_tables: page(tables_index)?,
            nr_page_tables,
            stack_end: page(tables_index + nr_page_tables + 1)?,
            nr_pages,
            runs,
        })
    }

    /// The guest frame mapped at an address of the initial mapping or of the p2m.
    pub fn pfn_at(&self, va: u64) -> Option<Pfn> {
        if (self.v_start..self.v_end).contains(&va) {
            return Some(Pfn::new((va - self.v_start) >> PAGE_SHIFT));
        }
        let index = va.checked_sub(self.p2m)? >> PAGE_SHIFT;
        (index < pages(self.nr_pages * 8)).then(|| Pfn::new(self.p2m_pfn.get() + index))
    }

    /// All page tables, the L4 first, then by level downwards; those of INIT_P2M last.
    pub fn tables(&self) -> impl Iterator<Item = Table> + '_ {
        self.runs.iter().flat_map(|run| {
            (0..run.count).map(|index| Table {
                level: run.level,
                pfn: Pfn::new(run.pfn + index),
                first_va: (run.first + index) << span_shift(run.level),
            })
        })
    }

    /// The table of `level` that maps an address.
    pub fn table_at(&self, level: Level, va: u64) -> Option<Pfn> {
        let number = table_number(level, va);
        let run = self
            .runs
            .iter()
            .find(|run| run.level == level && (run.first..run.first + run.count).contains(&number))?;
        Some(Pfn::new(run.pfn + (number - run.first)))
    }

    /// Whether a guest frame holds a page table, and so must not be mapped writable.
    pub fn is_table(&self, pfn: Pfn) -> bool {
        self.runs.iter().any(|run| (run.pfn..run.pfn + run.count).contains(&pfn.get()))
    }

    /// The guest frame of the L4.
    pub fn l4(&self) -> Pfn {
        Pfn::new((self.page_tables - self.v_start) >> PAGE_SHIFT)
    }
}

/// The tables of a p2m at INIT_P2M, from guest frame `pfn` on. It may share tables with the mapping, but no page.
fn place_p2m(
    va: u64,
    nr: u64,
    mapping: (u64, u64),
    others: &[Run],
    pfn: u64,
) -> Result<Vec<Run>, LayoutError> {
    let last = va.checked_add((nr << PAGE_SHIFT) - 1).ok_or(LayoutError::Reserved(va))?;
    check_range(va, last)?;
    if va < mapping.1 && last >= mapping.0 {
        return Err(LayoutError::P2mOverlap(va));
    }
    Ok(runs_for(va, last, others, pfn))
}

/// The tables that map `first..=last`, less those that exist, in guest frames from `pfn` on. The two ranges do not
/// overlap, so per level they share at most the table at one end.
fn runs_for(first: u64, last: u64, existing: &[Run], mut pfn: u64) -> Vec<Run> {
    let mut runs = Vec::new();
    for level in Level::DOWN {
        let (mut low, mut high) = (table_number(level, first), table_number(level, last) + 1);
        for run in existing.iter().filter(|run| run.level == level) {
            let taken = run.first..run.first + run.count;
            while low < high && taken.contains(&low) {
                low += 1;
            }
            while low < high && taken.contains(&(high - 1)) {
                high -= 1;
            }
        }
        if low < high {
            runs.push(Run { level, first: low, count: high - low, pfn });
            pfn += high - low;
        }
    }
    runs
}

/// log2 of the addresses one table of a level maps.
fn span_shift(level: Level) -> u32 {
    level.shift() + 9
}

fn table_number(level: Level, va: u64) -> u64 {
    (va & VA_MASK) >> span_shift(level)
}

/// A range must lie in one half of the canonical addresses, and outside the hypervisor's slots.
fn check_range(first: u64, last: u64) -> Result<(), LayoutError> {
    let usable = VirtAddr::is_guest(first) && VirtAddr::is_guest(last) && (first ^ last) >> 63 == 0;
    if usable { Ok(()) } else { Err(LayoutError::Reserved(first)) }
}

fn pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Debian 12's 6.1 kernel, as measured.
    fn linux() -> KernelNotes {
        KernelNotes {
            virt_base: 0xffff_ffff_8000_0000,
            entry: 0xffff_ffff_8304_e1c0,
            init_p2m: Some(0x80_0000_0000),
            mod_start_pfn: true,
            virt_start: 0xffff_ffff_8100_0000,
            virt_end: 0xffff_ffff_83e0_0000,
            ..KernelNotes::default()
        }
    }

    /// A kernel in the lower half without any optional note.
    fn plain() -> KernelNotes {
        KernelNotes { virt_base: 0, virt_start: 0x10_0000, virt_end: 0x18_0123, ..KernelNotes::default() }
    }

    #[test]
    fn linux_lies_where_xen_puts_it() {
        // 512 MiB; as Xen's tools choose, with a ramdisk of 0xfc pages.
        let layout = Layout::plan(&linux(), 0xfc * PAGE - 5, 0x2_0000).unwrap();
        assert_eq!(layout.start_info, 0xffff_ffff_83e0_0000);
        assert_eq!(layout.xenstore, 0xffff_ffff_83e0_1000);
        assert_eq!(layout.console, 0xffff_ffff_83e0_2000);
        assert_eq!((layout.page_tables, layout.nr_page_tables), (0xffff_ffff_83e0_3000, 35));
        assert_eq!(layout.stack_end, 0xffff_ffff_83e2_7000);
        assert_eq!((layout.v_start, layout.v_end), (0xffff_ffff_8000_0000, 0xffff_ffff_8400_0000));
        let ramdisk = layout.ramdisk.unwrap();
        assert_eq!((ramdisk.pfn, ramdisk.va), (Pfn::new(0x4000), None));
        assert_eq!(layout.p2m, 0x80_0000_0000);
        assert_eq!(layout.p2m_frames, Some((Pfn::new(0x40fc), 0x103)));
        assert_eq!(layout.p2m_pfn, Pfn::new(0x40fc));
        assert_eq!(layout.tables().last().unwrap().pfn, Pfn::new(0x41fe));
        let levels: Vec<Level> = layout.tables().take(4).map(|table| table.level).collect();
        assert_eq!(levels, [Level::L4, Level::L3, Level::L2, Level::L1]);
        assert_eq!(layout.l4(), Pfn::new(0x3e03));
    }

    #[test]
    fn without_notes_everything_is_mapped_in_order() {
        let layout = Layout::plan(&plain(), 3 * PAGE + 1, 4096).unwrap();
        let ramdisk = layout.ramdisk.unwrap();
        assert_eq!((ramdisk.pfn, ramdisk.va), (Pfn::new(0x181), Some(0x18_1000)));
        assert_eq!((layout.p2m, layout.p2m_pfn), (0x18_5000, Pfn::new(0x185)));
        assert_eq!(layout.p2m_frames, None);
        // 4096 entries are eight pages.
        assert_eq!(layout.start_info, 0x18_d000);
        assert_eq!((layout.page_tables, layout.nr_page_tables), (0x19_0000, 5));
        assert_eq!(layout.stack_end, 0x19_6000);
        assert_eq!(layout.v_end, 0x40_0000);
        assert_eq!(Layout::plan(&plain(), 0, 4096).unwrap().ramdisk, None);
    }

    #[test]
    fn padding_is_at_least_half_a_megabyte() {
        let mut notes = plain();
        for end in (0x30_0000..0x44_0000).step_by(0x1000) {
            notes.virt_end = end;
            let layout = Layout::plan(&notes, 0, 0x4000).unwrap();
            let padding = layout.v_end - layout.stack_end;
            assert!((PADDING_MIN..PADDING_MIN + END_ALIGN).contains(&padding), "{end:#x}: {padding:#x}");
        }
    }

    /// Walks the layout as a CPU would and checks that it maps what it says.
    fn check(layout: &Layout) {
        let mut seen = std::collections::BTreeSet::new();
        for table in layout.tables() {
            assert!(seen.insert(table.pfn), "two tables in one frame");
            assert!(layout.is_table(table.pfn));
            assert_eq!(layout.table_at(table.level, table.first_va), Some(table.pfn));
            assert!(table.pfn.get() < layout.nr_pages);
        }
        let own = layout.tables().filter(|table| table.pfn >= layout.l4()).count();
        assert!(own as u64 >= layout.nr_page_tables);
        assert_eq!(layout.tables().next().unwrap().pfn, layout.l4());
        let p2m_end = layout.p2m + layout.nr_pages * 8;
        for (start, end) in [(layout.v_start, layout.v_end), (layout.p2m, p2m_end)] {
            for va in (start..end).step_by(PAGE_SIZE) {
                assert!(Level::DOWN.iter().all(|&level| layout.table_at(level, va).is_some()), "{va:#x}");
                assert!(layout.pfn_at(va).unwrap().get() < layout.nr_pages);
            }
        }
        assert_eq!(layout.pfn_at(layout.v_end).is_some(), layout.p2m == layout.v_end);
        assert_eq!(layout.pfn_at(layout.page_tables), Some(layout.l4()));
        // Nothing overlaps: the parts of the mapping, and what follows it.
        let order =
            [layout.start_info, layout.xenstore, layout.console, layout.page_tables, layout.stack_end];
        assert!(order.windows(2).all(|pair| pair[0] < pair[1]) && layout.stack_end < layout.v_end);
        let boot_stack = layout.pfn_at(layout.stack_end - 1).unwrap();
        assert!(!layout.is_table(boot_stack) && layout.is_table(Pfn::new(boot_stack.get() - 1)));
        assert!((0..layout.nr_pages * 8).step_by(PAGE_SIZE).all(|offset| {
            let pfn = layout.pfn_at(layout.p2m + offset).unwrap();
            !layout.is_table(pfn) && pfn != boot_stack
        }));
    }

    #[test]
    fn layouts_of_many_shapes_are_consistent() {
        // Bases near and across table boundaries of every level.
        let bases = [
            0,
            0x1000,
            0x1f_f000,
            0x3fff_f000,
            0x7f_ffff_f000,
            0xffff_8800_0000_0000,
            0xffff_ffff_8000_0000,
            0xffff_ffff_c000_0000,
        ];
        let mut planned = 0;
        for (virt_base, size) in bases.into_iter().flat_map(|base| [(base, 0x5_1234), (base, 0x70_0001)]) {
            for p2m in [None, Some(0x80_0000_0000), Some(0x3f_ffff_f000), Some(virt_base ^ 0x4000_0000)] {
                for (ramdisk, mod_start_pfn) in [(0, true), (1, false), (0x12_3456, true), (0x12_3456, false)]
                {
                    let notes = KernelNotes {
                        virt_base,
                        virt_start: virt_base,
                        virt_end: virt_base + size,
                        init_p2m: p2m,
                        mod_start_pfn,
                        ..KernelNotes::default()
                    };
                    match Layout::plan(&notes, ramdisk, 0x1800) {
                        Ok(layout) => {
                            planned += 1;
                            check(&layout);
                        }
                        Err(error) => {
                            assert_eq!(error, LayoutError::P2mOverlap(p2m.unwrap()), "{virt_base:#x}")
                        }
                    }
                }
            }
        }
        assert!(planned > 200, "only {planned} layouts");
    }

    #[test]
    fn a_p2m_beside_the_mapping_shares_its_tables() {
        let mut notes = plain();
        (notes.virt_base, notes.virt_start, notes.virt_end) = (0x40_0000, 0x50_0000, 0x58_0123);
        notes.init_p2m = Some(0x20_0000);
        let layout = Layout::plan(&notes, 0, 4096).unwrap();
        // Eight pages need one new L1; L4, L3 and L2 exist.
        assert_eq!((layout.p2m, layout.p2m_pfn), (0x20_0000, Pfn::new(0x400)));
        assert_eq!(layout.p2m_frames, Some((Pfn::new(0x400), 9)));
        check(&layout);
        notes.init_p2m = Some(0x3f_f000);
        assert_eq!(Layout::plan(&notes, 0, 4096), Err(LayoutError::P2mOverlap(0x3f_f000)));
    }

    #[test]
    fn a_p2m_that_would_lie_behind_the_base_is_mapped_with_the_rest() {
        let plain = Layout::plan(&plain(), 5, 4096).unwrap();
        for elsewhere in [0, 0x40_0000, 0x40_0800, 0x80_0000_0000, 0xffff_8000_0000_0000] {
            let notes = KernelNotes { init_p2m: Some(elsewhere), ..self::plain() };
            assert_eq!(Layout::plan(&notes, 5, 4096).unwrap(), plain, "{elsewhere:#x}");
        }
        let notes = KernelNotes { init_p2m: Some(0x80_0000_0800), ..linux() };
        assert_eq!(Layout::plan(&notes, 0, 0x2_0000).unwrap().p2m_frames, None);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let base = |virt_base: u64| KernelNotes {
            virt_base,
            virt_start: virt_base,
            virt_end: virt_base + 0x1000,
            ..KernelNotes::default()
        };
        let plan = |notes: &KernelNotes, ramdisk, pages| Layout::plan(notes, ramdisk, pages).unwrap_err();
        for reserved in [0xffff_8000_0000_0000, 0xffff_87ff_ffc0_0000, 0x7fff_ffff_f000, 0x8000_0000_0000] {
            assert_eq!(plan(&base(reserved), 0, 4096), LayoutError::Reserved(reserved));
        }
        assert_eq!(plan(&base(0xffff_ffff_ffff_0000), 0, 4096), LayoutError::Reserved(0xffff_ffff_ffff_0000));
        assert_eq!(plan(&base(0x123), 0, 4096), LayoutError::BaseAlignment(0x123));
        assert_eq!(plan(&plain(), 0, 1023), LayoutError::Memory { need: 1024, have: 1023 });
        assert!(Layout::plan(&plain(), 0, 1024).is_ok());
        assert!(matches!(plan(&plain(), u64::MAX, 4096), LayoutError::Memory { .. }));
        let mut empty = base(0);
        empty.virt_end = 0;
        assert_eq!(plan(&empty, 0, 0), LayoutError::Memory { need: 1, have: 0 });
        assert!(matches!(plan(&plain(), 0, u64::MAX), LayoutError::Reserved(_)));
        assert!(matches!(plan(&linux(), 0, 0x4000), LayoutError::Memory { need, .. } if need > 0x4000));
        let mut notes = plain();
        for bad in [0x17_0800, 0x40_0000, !0xfff] {
            notes.hypercall_page = Some(bad);
            assert_eq!(plan(&notes, 0, 4096), LayoutError::HypercallPage(bad));
        }
        notes.hypercall_page = Some(0x17_0000);
        assert!(Layout::plan(&notes, 0, 4096).is_ok());
        let mut notes = linux();
        notes.init_p2m = Some(0xffff_87ff_ffff_f000);
        assert!(matches!(plan(&notes, 0, 0x2_0000), LayoutError::Reserved(_)));
    }
}
