//! From the domain builder's address space to this kernel's: the direct map, then a boot mapping that holds nothing but
//! the image.
//!
//! The builder maps the first megabytes of memory at `VIRT_BASE`, page tables read-only among them. The direct map is
//! built through a window, one page table at a time, because none of these frames may be writable anywhere when the
//! hypervisor checks them. Afterwards every frame outside the image has exactly one kernel mapping, the direct one, so
//! turning it into a page table takes one change.

use core::ops::Range;

use arrayvec::ArrayVec;
use paravane_abi::pte::{self, ENTRIES, PteFlags};
use paravane_abi::start_info::{SIF_INITDOMAIN, SIF_MOD_START_PFN, StartInfo};

use super::addr::{self, DIRECT_SLOT, Mfn, PAGE, Pfn, page_up};
use super::table::{self, KERNEL_RO, KERNEL_RW, KERNEL_TABLE, KERNEL_TEXT};
use super::{frames, heap};
use crate::arch::{boot as image, notes::VIRT_BASE};
use crate::cpu::CpuSet;
use crate::cpu_ops::{CpuOps, MapOp, machine, pv};

/// The L4 slot of the boot mapping and the image.
const IMAGE_SLOT: usize = pte::index(VIRT_BASE, 4);

/// A page of the image through which page tables are filled before the direct map exists.
#[repr(C, align(4096))]
struct Window(core::cell::UnsafeCell<[u64; ENTRIES]>);

// SAFETY: used by the boot code only, which is one thread.
unsafe impl Sync for Window {}

#[unsafe(link_section = ".bss.page")]
static WINDOW: Window = Window(core::cell::UnsafeCell::new([0; ENTRIES]));

type Span = Range<u64>;

/// Which frames hold what at the start of the day.
struct Layout {
    nr_pages: u64,
    image: Span,
    tables: Span,
    p2m: Span,
    initrd: Span,
    /// The console ring; the first domain of a Xen host has none.
    console: Option<Pfn>,
    store: Option<Pfn>,
    /// The first frame that nothing uses, with all after it.
    end: u64,
}

fn pfn_of(va: u64) -> u64 {
    (va - VIRT_BASE) / PAGE
}

impl Layout {
    fn read(info: &StartInfo) -> Self {
        let [start, _, _, end] = image::image();
        let tables = pfn_of(info.pt_base)..pfn_of(info.pt_base) + info.nr_pt_frames;
        let p2m = pfn_of(info.mfn_list)..pfn_of(page_up(info.mfn_list + info.nr_pages * 8));
        let first = if info.flags & SIF_MOD_START_PFN != 0 || info.mod_start < VIRT_BASE {
            info.mod_start
        } else {
            pfn_of(info.mod_start)
        };
        let initrd = if info.mod_len == 0 { 0..0 } else { first..first + info.mod_len.div_ceil(PAGE) };
        let mut layout = Self {
            nr_pages: info.nr_pages,
            image: pfn_of(start)..pfn_of(end),
            tables,
            p2m,
            initrd,
            console: if info.flags & SIF_INITDOMAIN != 0 {
                None
            } else {
                Some(Mfn(info.console_mfn).pfn().expect("the console page is this domain's"))
            },
            store: if info.store_mfn == 0 { None } else { Mfn(info.store_mfn).pfn() },
            end: 0,
        };
        layout.end = [layout.image.end, layout.tables.end, layout.p2m.end, layout.initrd.end]
            .into_iter()
            .chain([layout.console, layout.store].into_iter().flatten().map(|pfn| pfn.0 + 1))
            .max()
            .unwrap_or(0);
        // The boot mapping ends at a multiple of 4 MiB; above it no frame is mapped anywhere.
        layout.end = layout.end.max(boot_mapping_end(pfn_of(info.pt_base)));
        layout
    }

    fn reserved(&self, pfn: Pfn) -> bool {
        [&self.image, &self.tables, &self.p2m, &self.initrd].into_iter().any(|span| span.contains(&pfn.0))
            || [self.console, self.store].contains(&Some(pfn))
    }
}

/// Reads an entry of a boot page table through the boot mapping.
fn boot_entry(table: u64, index: usize) -> u64 {
    // SAFETY: the builder maps its page tables, read-only, at VIRT_BASE + pfn * PAGE.
    unsafe { ((VIRT_BASE + table * PAGE) as *const u64).add(index).read_volatile() }
}

/// The pfn after the last one the boot mapping maps, by walking it.
fn boot_mapping_end(l4: u64) -> u64 {
    let mut table = l4;
    let mut va = 0;
    let slots = [(4, IMAGE_SLOT..IMAGE_SLOT + 1), (3, 0..ENTRIES), (2, 0..ENTRIES), (1, 0..ENTRIES)];
    for (level, mut slots) in slots {
        let Some(last) = slots.rfind(|&slot| pte::is_present(boot_entry(table, slot))) else { break };
        va += (last as u64) << (12 + 9 * (level - 1));
        if level > 1 {
            table = table::child(boot_entry(table, last)).expect("boot tables are this domain's").0;
        }
    }
    // The L4 index puts the sum at slot 511; sign extension makes it a kernel address.
    pfn_of(va | 0xffff_0000_0000_0000) + 1
}

/// Hands out frames from the end of the used ones, before there is an allocator.
struct Bump(u64, u64);

impl Bump {
    fn take(&mut self, count: u64) -> Span {
        let first = self.0;
        assert!(first + count <= self.1, "this domain has too little memory");
        self.0 += count;
        first..self.0
    }
}

/// Fills a frame that is mapped nowhere with table entries.
fn fill_table(pfn: Pfn, entry: impl Fn(usize) -> u64) {
    let window = WINDOW.0.get().cast::<u64>();
    pv::update_va_mapping(window as u64, pte::entry(pfn.mfn().0, KERNEL_RW))
        .expect("the window can be moved");
    for index in 0..ENTRIES {
        // SAFETY: the window maps a frame that nothing else uses.
        unsafe { window.add(index).write_volatile(entry(index)) };
    }
    pv::update_va_mapping(window as u64, 0).expect("the window can be closed");
}

/// Builds the direct map of all frames in L4 slot 272.
fn build_direct_map(layout: &Layout, bump: &mut Bump, l4: Pfn) {
    let l1_count = layout.nr_pages.div_ceil(ENTRIES as u64);
    let l2_count = l1_count.div_ceil(ENTRIES as u64);
    let l1s = bump.take(l1_count);
    let l2s = bump.take(l2_count);
    let l3 = Pfn(bump.take(1).start);
    let [_, text_end, rodata_end, _] = image::image();
    let read_only = |pfn: u64| {
        layout.tables.contains(&pfn)
            || (l1s.start..=l3.0).contains(&pfn)
            || (layout.image.start..pfn_of(rodata_end.max(text_end))).contains(&pfn)
            || layout.initrd.contains(&pfn)
    };
    for (i, l1) in l1s.clone().enumerate() {
        fill_table(Pfn(l1), |index| {
            let pfn = (i * ENTRIES + index) as u64;
            if pfn >= layout.nr_pages {
                return 0;
            }
            pte::entry(Pfn(pfn).mfn().0, if read_only(pfn) { KERNEL_RO } else { KERNEL_RW })
        });
    }
    let points_to = |span: &Span, index: usize| {
        let pfn = span.start + index as u64;
        if span.contains(&pfn) { pte::entry(Pfn(pfn).mfn().0, KERNEL_TABLE) } else { 0 }
    };
    for (i, l2) in l2s.clone().enumerate() {
        fill_table(Pfn(l2), |index| points_to(&l1s, i * ENTRIES + index));
    }
    fill_table(l3, |index| points_to(&l2s, index));
    let entry = pte::entry(l3.mfn().0, KERNEL_TABLE);
    machine()
        .map(&[MapOp::Entry { at: table::entry_address(l4, DIRECT_SLOT), value: entry }])
        .expect("the hypervisor accepts the direct map");
}

/// What the boot mapping keeps at an address: the image, each part with no more rights than it needs.
fn trimmed(va: u64, entry: u64) -> u64 {
    let [start, text_end, rodata_end, end] = image::image();
    let flags = match va {
        _ if va < start || va >= end => return 0,
        _ if va < text_end => KERNEL_TEXT,
        _ if va < rodata_end => KERNEL_RO,
        _ => KERNEL_RW,
    };
    // The address part stays: the shared page does not hold the frame the image was loaded to.
    if entry == 0 { 0 } else { entry & pte::ADDRESS_MASK | flags.bits() }
}

/// Takes everything but the image out of the boot mapping.
fn trim_boot_mapping(l4: Pfn) {
    let mut ops = ArrayVec::<MapOp, 64>::new();
    let l3 = table::child(table::read(l4, IMAGE_SLOT)).expect("the boot mapping is there");
    for i in 0..ENTRIES {
        let Some(l2) = table::child(table::read(l3, i)) else { continue };
        for j in 0..ENTRIES {
            let Some(l1) = table::child(table::read(l2, j)) else { continue };
            for k in 0..ENTRIES {
                let old = table::read(l1, k);
                let new = trimmed(pte::address(IMAGE_SLOT, i, j, k), old);
                let ignore = (PteFlags::ACCESSED | PteFlags::DIRTY).bits();
                if old & !ignore == new & !ignore {
                    continue;
                }
                ops.push(MapOp::Entry { at: table::entry_address(l1, k), value: new });
                if ops.is_full() {
                    machine().map(&ops).expect("the boot mapping is this kernel's to change");
                    ops.clear();
                }
            }
        }
    }
    ops.try_push(MapOp::FlushAll(CpuSet::EMPTY)).unwrap_or(());
    machine().map(&ops).expect("the boot mapping is this kernel's to change");
    machine().flush_all(CpuSet::EMPTY);
}

/// What the rest of the kernel needs to know of the start of the day.
pub struct Boot {
    /// The root table that idles and that every process's kernel half is copied from.
    pub kernel_root: Pfn,
    /// The console ring's frame, if there is a ring.
    pub console: Option<Pfn>,
    /// The frame of the ring to xenstore, if there is one.
    pub store: Option<Pfn>,
    /// The initramfs.
    pub initrd: &'static [u8],
}

/// Takes memory over from the domain builder.
///
/// # Safety
/// Called once, with the start_info the hypervisor passed, before anything else uses memory.
pub unsafe fn take_over(info: &StartInfo) -> Boot {
    // SAFETY: the builder put the P2M there, one entry per page.
    unsafe { addr::set_p2m(info.mfn_list as *mut u64, info.nr_pages) };
    let layout = Layout::read(info);
    let mut bump = Bump(layout.end, layout.nr_pages);
    let l4 = Pfn(layout.tables.start);
    build_direct_map(&layout, &mut bump, l4);
    // SAFETY: the same list, now through the direct map.
    unsafe { addr::set_p2m(Pfn(layout.p2m.start).bytes().cast(), info.nr_pages) };
    trim_boot_mapping(l4);

    let record_frames = (info.nr_pages * size_of::<frames::Record>() as u64).div_ceil(PAGE);
    let records = bump.take(record_frames);
    let heap_frames = (info.nr_pages / 16).clamp(512, 4096);
    let arena = bump.take(heap_frames);
    let early = layout.end..arena.end;
    // SAFETY: the frames were just taken, the direct map maps them, and records are plain words that start as zeros.
    let records = unsafe {
        let start = Pfn(records.start).bytes();
        start.write_bytes(0, (record_frames * PAGE) as usize);
        core::slice::from_raw_parts_mut(start.cast(), info.nr_pages as usize)
    };
    frames::init(records, |pfn| layout.reserved(pfn) || early.contains(&pfn.0));
    // SAFETY: the frames were taken for the heap.
    unsafe { heap::init(Pfn(arena.start).bytes(), (heap_frames * PAGE) as usize) };
    // SAFETY: the builder loaded the module there; its frames are reserved, and mapped read-only.
    let initrd =
        unsafe { core::slice::from_raw_parts(Pfn(layout.initrd.start).bytes(), info.mod_len as usize) };
    Boot { kernel_root: l4, console: layout.console, store: layout.store, initrd }
}
