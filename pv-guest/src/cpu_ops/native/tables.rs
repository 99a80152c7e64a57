//! Page tables on a bare machine: memory like any other, and translations that the processor keeps until it is told.

use core::arch::asm;

use paravane_abi::pte::{self, PteFlags};

use super::boot;
use crate::cpu_ops::MapOp;
use crate::mm::addr::{DIRECT_BASE, Mfn};

/// Loads a root table, which forgets every translation.
pub fn load_root(root: Mfn) {
    // SAFETY: the root has the kernel's half, by which this code goes on.
    unsafe { asm!("mov cr3, {}", in(reg) root.address(), options(nostack)) };
}

/// The root table that is loaded.
fn root() -> u64 {
    let cr3: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr3", out(reg) cr3, options(nomem, nostack)) };
    cr3 & pte::ADDRESS_MASK
}

/// Forgets one translation.
pub fn flush_one(va: u64) {
    // SAFETY: a translation that is forgotten is made anew.
    unsafe { asm!("invlpg [{}]", in(reg) va, options(nostack)) };
}

/// Forgets all translations.
pub fn flush_all() {
    load_root(Mfn(root() / 4096));
}

/// An entry, by its physical address.
fn entry(at: u64) -> *mut u64 {
    (DIRECT_BASE + at) as *mut u64
}

/// The physical address of the last-level entry that maps an address.
fn leaf(va: u64) -> u64 {
    let mut table = root();
    for level in [4, 3, 2] {
        // SAFETY: the direct map has every table of the loaded address space.
        let value = unsafe { entry(table + pte::index(va, level) as u64 * 8).read_volatile() };
        assert!(pte::is_present(value), "nothing maps {va:#x}");
        table = value & pte::ADDRESS_MASK;
    }
    table + pte::index(va, 1) as u64 * 8
}

/// Carries out one change.
pub fn apply(op: &MapOp) {
    match *op {
        MapOp::Mapping { va, entry: value } => {
            // SAFETY: the caller owns what the address maps.
            unsafe { entry(leaf(va)).write_volatile(value) };
            flush_one(va);
        }
        // SAFETY: the caller owns the table; the processor sets bits in it, hence volatile.
        MapOp::Entry { at, value } => unsafe { entry(at).write_volatile(value) },
        // Nobody checks tables, so nobody keeps them checked.
        MapOp::KeepRoot(_) | MapOp::ReleaseRoot(_) => {}
        MapOp::FlushAll(_) => flush_all(),
    }
}

/// Maps a page of the image to another frame, while the boot's tables are loaded.
pub fn image_entry(va: u64, frame: u64) {
    let flags = PteFlags::PRESENT | PteFlags::RW | PteFlags::ACCESSED | PteFlags::DIRTY;
    // SAFETY: the page is the boot code's own window.
    unsafe { boot::entry_of(va).write_volatile((frame * 4096) | flags.bits()) };
    flush_one(va);
}
