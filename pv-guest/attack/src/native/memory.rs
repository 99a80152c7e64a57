//! Memory of a PC: frames, page tables, and the places at which attacks map.
//!
//! The first GiB is mapped at [`DIRECT`] in large pages, for the kernel alone. Attacks map at [`WINDOW`] for the kernel and
//! at [`USER`] for programs, each 512 pages.

use core::sync::atomic::{AtomicU64, Ordering};

use paravane_abi::pvh::{HvmMemmapTableEntry, HvmStartInfo};

use super::registers::{invlpg, set_cr3};
use crate::notes::VIRT_BASE;

/// Where guest-physical address 0 is mapped.
pub const DIRECT: u64 = VIRT_BASE;
/// Pages for the kernel.
pub const WINDOW: u64 = DIRECT + SLOT;
/// Pages for programs.
pub const USER: u64 = SLOT;
/// What a slot of the L4 maps.
pub const SLOT: u64 = 1 << 39;
/// What the rest of the address space is to the processor: the hypervisor's, under one.
pub const HYPERVISOR: u64 = 0xffff_8000_0000_0000;

/// Present and writable.
pub const RW: u64 = 3;
/// For programs too.
pub const US: u64 = 1 << 2;
/// A large page.
pub const PS: u64 = 1 << 7;
/// Not executable.
pub const NX: u64 = 1 << 63;
/// The bits of an entry that are an address.
pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

static NEXT: AtomicU64 = AtomicU64::new(0);
static END: AtomicU64 = AtomicU64::new(0);
static WINDOW_L1: AtomicU64 = AtomicU64::new(0);
static USER_L1: AtomicU64 = AtomicU64::new(0);

unsafe extern "C" {
    static native_l4: u8;
    static __image_end: u8;
}

/// The core's root, which no attack changes.
pub fn root() -> u64 {
    &raw const native_l4 as u64 - DIRECT
}

/// Reads a word of memory.
pub fn read(at: u64) -> u64 {
    // SAFETY: the direct map has it; attacks change memory, hence volatile.
    unsafe { ((DIRECT + at) as *const u64).read_volatile() }
}

/// Writes a word of memory.
pub fn write(at: u64, value: u64) {
    // SAFETY: the caller owns it, or attacks with it.
    unsafe { ((DIRECT + at) as *mut u64).write_volatile(value) };
}

/// Copies bytes into memory.
pub fn place(at: u64, bytes: &[u8]) {
    for (index, byte) in bytes.iter().enumerate() {
        // SAFETY: as above.
        unsafe { ((DIRECT + at) as *mut u8).add(index).write_volatile(*byte) };
    }
}

/// The end of the RAM that the image lies in.
fn ram_end(info: &HvmStartInfo) -> u64 {
    let image = &raw const __image_end as u64 - DIRECT;
    let entries = (0..u64::from(info.memmap_entries)).map(|index| {
        let at = DIRECT + info.memmap_paddr + index * size_of::<HvmMemmapTableEntry>() as u64;
        // SAFETY: the loader put the map there, and nothing has been written yet.
        unsafe { (at as *const HvmMemmapTableEntry).read() }
    });
    let found = entries.map(|entry| (entry.addr, entry.addr + entry.size));
    found.filter(|(start, end)| (*start..*end).contains(&image)).map(|(_, end)| end).max().unwrap_or(16 << 20)
}

/// First address of the frames that are given out: behind the image. The loader's words are gone when they are used.
pub fn initialise(info: &HvmStartInfo) {
    let start = (&raw const __image_end as u64 - DIRECT).next_multiple_of(0x1000);
    END.store(ram_end(info).min(1 << 30), Ordering::Relaxed);
    NEXT.store(start, Ordering::Relaxed);
    // The first GiB where it is was the loader's way of starting us.
    write(root(), 0);
    WINDOW_L1.store(grow(WINDOW, RW), Ordering::Relaxed);
    USER_L1.store(grow(USER, RW | US), Ordering::Relaxed);
    set_cr3(root());
}

/// Puts tables down to an L1 below an address into the core's root.
fn grow(va: u64, flags: u64) -> u64 {
    let mut table = root();
    for level in [4, 3, 2] {
        let next = frame();
        write(table + slot(va, level) * 8, next | flags);
        table = next;
    }
    table
}

/// The number of the entry for an address in a table of a level.
pub const fn slot(va: u64, level: u32) -> u64 {
    va >> (12 + 9 * (level - 1)) & 511
}

/// A frame of zeros.
pub fn frame() -> u64 {
    let at = NEXT.fetch_add(0x1000, Ordering::Relaxed);
    assert!(at < END.load(Ordering::Relaxed), "there is no memory left");
    (0..512).for_each(|index| write(at + index * 8, 0));
    at
}

/// How many bytes of memory there are.
pub fn end() -> u64 {
    END.load(Ordering::Relaxed)
}

/// What has been given out; [`release`] takes back what is given out from now on.
pub fn mark() -> u64 {
    NEXT.load(Ordering::Relaxed)
}

/// Takes back what was given out since a mark.
pub fn release(mark: u64) {
    NEXT.store(mark, Ordering::Relaxed);
}

/// Frames up to a multiple of this many bytes are left out.
pub fn align(bytes: u64) {
    NEXT.store(mark().next_multiple_of(bytes), Ordering::Relaxed);
}

/// The place of the entry that maps a page of the window or of the programs'.
pub fn entry_of(va: u64) -> u64 {
    let table = if va >= WINDOW { &WINDOW_L1 } else { &USER_L1 };
    table.load(Ordering::Relaxed) + slot(va, 1) * 8
}

/// Maps a page of the window or of the programs'.
pub fn map(va: u64, entry: u64) {
    write(entry_of(va), entry);
    invlpg(va);
}

/// A root with the core's entries.
pub fn copy_of_root() -> u64 {
    let copy = frame();
    (0..512).for_each(|index| write(copy + index * 8, read(root() + index * 8)));
    copy
}

/// Empties all that attacks map.
pub fn unmap_all() {
    for table in [&WINDOW_L1, &USER_L1] {
        let table = table.load(Ordering::Relaxed);
        for index in 0..512 {
            if read(table + index * 8) != 0 {
                write(table + index * 8, 0);
            }
        }
    }
}
