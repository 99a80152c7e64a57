//! From the domain builder's address space to this kernel's.
//!
//! The builder maps the first megabytes of memory at `VIRT_BASE`, page tables read-only among them. The direct map is
//! built through a window, one page table at a time, because none of these frames may be writable anywhere when the
//! hypervisor checks them. Afterwards every frame outside the image has exactly one kernel mapping, the direct one, so
//! turning it into a page table takes one change.

use arrayvec::ArrayVec;
use paravane_abi::pte::{self, ENTRIES, PteFlags};
use paravane_abi::start_info::{SIF_INITDOMAIN, SIF_MOD_START_PFN, StartInfo};

use super::{Boot, Early, IMAGE_SLOT, Plan, Span, image_flags, pfn_of, window};
use crate::arch::boot as image;
use crate::arch::notes::VIRT_BASE;
use crate::cpu::CpuSet;
use crate::cpu_ops::{MapOp, machine, pv};
use crate::mm::addr::{self, DIRECT_SLOT, Mfn, PAGE, Pfn, page_up};
use crate::mm::table::{self, KERNEL_RW, KERNEL_TABLE};

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

    /// What there is, for what both kinds of machine do alike.
    fn plan(&self) -> Plan {
        let page = |pfn: Pfn| pfn.0..pfn.0 + 1;
        let mut reserved = ArrayVec::new();
        reserved.extend([&self.image, &self.tables, &self.p2m, &self.initrd].map(Clone::clone));
        reserved.extend([self.console, self.store].into_iter().flatten().map(page));
        let mut read_only = ArrayVec::new();
        read_only.extend([self.tables.clone(), self.initrd.clone()]);
        Plan { nr_pages: self.nr_pages, reserved, read_only, free: self.end..self.nr_pages }
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

/// Frames as the hypervisor numbers them, filled by its leave.
struct Domain;

impl Early for Domain {
    fn mfn(&self, pfn: u64) -> u64 {
        Pfn(pfn).mfn().0
    }

    fn open_window(&self, pfn: u64) {
        pv::update_va_mapping(window() as u64, pte::entry(self.mfn(pfn), KERNEL_RW))
            .expect("the window can be moved");
    }

    fn close_window(&self) {
        pv::update_va_mapping(window() as u64, 0).expect("the window can be closed");
    }
}

/// What the boot mapping keeps at an address: the image, each part with no more rights than it needs.
fn trimmed(va: u64, entry: u64) -> u64 {
    let Some(flags) = image_flags(va) else { return 0 };
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

/// What the domain was given besides memory.
pub struct Given {
    /// The console ring's frame, if there is a ring.
    pub console: Option<Pfn>,
    /// The frame of the ring to xenstore, if there is one.
    pub store: Option<Pfn>,
}

/// Takes memory over from the domain builder.
///
/// # Safety
/// Called once, with the start_info the hypervisor passed, before anything else uses memory.
pub unsafe fn take_over(info: &StartInfo) -> (Boot, Given) {
    // SAFETY: the builder put the P2M there, one entry per page.
    unsafe { addr::set_p2m(info.mfn_list as *mut u64, info.nr_pages) };
    let layout = Layout::read(info);
    let mut plan = layout.plan();
    let l4 = Pfn(layout.tables.start);
    let l3 = plan.build_direct_map(&Domain);
    let entry = pte::entry(l3.mfn().0, KERNEL_TABLE);
    machine()
        .map(&[MapOp::Entry { at: table::entry_address(l4, DIRECT_SLOT), value: entry }])
        .expect("the hypervisor accepts the direct map");
    // SAFETY: the same list, now through the direct map.
    unsafe { addr::set_p2m(Pfn(layout.p2m.start).bytes().cast(), info.nr_pages) };
    trim_boot_mapping(l4);
    // SAFETY: this is the one call, and the direct map is there.
    unsafe { plan.start_allocators() };
    // SAFETY: the builder loaded the module there; its frames are reserved, and mapped read-only.
    let initrd =
        unsafe { core::slice::from_raw_parts(Pfn(layout.initrd.start).bytes(), info.mod_len as usize) };
    let boot = Boot { kernel_root: l4, initrd };
    (boot, Given { console: layout.console, store: layout.store })
}
