//! Memory at the start of the day: the direct map, the image's mapping with no more rights than its parts need, and the
//! allocators. How this kernel finds memory depends on who started it: [`domain`] takes over from a domain builder,
//! [`machine`] from a boot loader.

pub mod domain;
pub mod machine;

use core::ops::Range;

use arrayvec::ArrayVec;
use paravane_abi::pte::{self, ENTRIES, PteFlags};

use super::addr::{PAGE, Pfn};
use super::table::{KERNEL_RO, KERNEL_RW, KERNEL_TABLE, KERNEL_TEXT};
use super::{frames, heap};
use crate::arch::{boot as image, notes::VIRT_BASE};

/// The L4 slot of the boot mapping and the image.
const IMAGE_SLOT: usize = pte::index(VIRT_BASE, 4);

/// A page of the image through which page tables are filled before the direct map exists.
#[repr(C, align(4096))]
struct Window(core::cell::UnsafeCell<[u64; ENTRIES]>);

// SAFETY: used by the boot code only, which is one thread.
unsafe impl Sync for Window {}

#[unsafe(link_section = ".bss.page")]
static WINDOW: Window = Window(core::cell::UnsafeCell::new([0; ENTRIES]));

/// The window.
fn window() -> *mut u64 {
    WINDOW.0.get().cast()
}

type Span = Range<u64>;

/// The frame of an address of the image.
fn pfn_of(va: u64) -> u64 {
    (va - VIRT_BASE) / PAGE
}

/// The rights that a page of the image needs; `None` for what is none.
fn image_flags(va: u64) -> Option<PteFlags> {
    let [start, text_end, rodata_end, end] = image::image();
    match va {
        _ if va < start || va >= end => None,
        _ if va < text_end => Some(KERNEL_TEXT),
        _ if va < rodata_end => Some(KERNEL_RO),
        _ => Some(KERNEL_RW),
    }
}

/// Frames before there is a direct map.
trait Early {
    /// The machine's number for a frame.
    fn mfn(&self, pfn: u64) -> u64;
    /// Has the window show a frame that is mapped nowhere.
    fn open_window(&self, pfn: u64);
    /// Has it show nothing, or anything but that frame.
    fn close_window(&self);

    /// Fills a frame with table entries.
    fn fill(&self, pfn: u64, entry: impl Fn(usize) -> u64) {
        self.open_window(pfn);
        for index in 0..ENTRIES {
            // SAFETY: the window maps a frame that nothing else uses.
            unsafe { window().add(index).write_volatile(entry(index)) };
        }
        self.close_window();
    }
}

/// Which frames hold what at the start of the day.
struct Plan {
    nr_pages: u64,
    /// What is never handed out.
    reserved: ArrayVec<Span, 10>,
    /// What is only read, besides the image's part.
    read_only: ArrayVec<Span, 4>,
    /// Where this kernel takes frames from for itself; those it has taken are before it.
    free: Span,
}

impl Plan {
    /// Takes frames for good.
    fn take(&mut self, count: u64) -> Span {
        let first = self.free.start;
        assert!(count <= self.free.end.saturating_sub(first), "there is too little memory");
        self.free.start += count;
        first..self.free.start
    }

    /// Builds the direct map of all frames, but for its place in L4; gives its L3 table.
    fn build_direct_map(&mut self, early: &impl Early) -> Pfn {
        let l1_count = self.nr_pages.div_ceil(ENTRIES as u64);
        let l2_count = l1_count.div_ceil(ENTRIES as u64);
        let taken = self.free.start;
        let l1s = self.take(l1_count);
        let l2s = self.take(l2_count);
        let l3 = self.take(1).start;
        let [start, text_end, rodata_end, _] = image::image();
        self.read_only.push(pfn_of(start)..pfn_of(rodata_end.max(text_end)));
        self.read_only.push(l1s.start..l3 + 1);
        for (i, l1) in l1s.clone().enumerate() {
            early.fill(l1, |index| {
                let pfn = (i * ENTRIES + index) as u64;
                if pfn >= self.nr_pages {
                    return 0;
                }
                let read_only = self.read_only.iter().any(|span| span.contains(&pfn));
                pte::entry(early.mfn(pfn), if read_only { KERNEL_RO } else { KERNEL_RW })
            });
        }
        let points_to = |span: &Span, index: usize| {
            let pfn = span.start + index as u64;
            if span.contains(&pfn) { pte::entry(early.mfn(pfn), KERNEL_TABLE) } else { 0 }
        };
        for (i, l2) in l2s.clone().enumerate() {
            early.fill(l2, |index| points_to(&l1s, i * ENTRIES + index));
        }
        early.fill(l3, |index| points_to(&l2s, index));
        self.reserved.push(taken..self.free.start);
        Pfn(l3)
    }

    /// Starts the allocators of frames and of the heap.
    ///
    /// # Safety
    /// Called once, when the direct map is there.
    unsafe fn start_allocators(mut self) {
        let record_frames = (self.nr_pages * size_of::<frames::Record>() as u64).div_ceil(PAGE);
        let records = self.take(record_frames);
        let heap_frames = (self.nr_pages / 16).clamp(512, 4096);
        let arena = self.take(heap_frames);
        let own = records.start..arena.end;
        // SAFETY: the frames were just taken, the direct map maps them, and records are plain words that start as zeros.
        let records = unsafe {
            let start = Pfn(records.start).bytes();
            start.write_bytes(0, (record_frames * PAGE) as usize);
            core::slice::from_raw_parts_mut(start.cast(), self.nr_pages as usize)
        };
        let reserved = |pfn: &u64| self.reserved.iter().chain([&own]).any(|span| span.contains(pfn));
        frames::init(records, |pfn| reserved(&pfn.0));
        // SAFETY: the frames were taken for the heap.
        unsafe { heap::init(Pfn(arena.start).bytes(), (heap_frames * PAGE) as usize) };
    }
}

/// What the rest of the kernel needs to know of memory at the start of the day.
pub struct Boot {
    /// The root table that idles and that every process's kernel half is copied from.
    pub kernel_root: Pfn,
    /// The initramfs.
    pub initrd: &'static [u8],
}
