//! From a boot loader's memory map to this kernel's address space, on a bare machine. Every table is this kernel's own; what
//! the loader has left is read through the window before there is a direct map.

use alloc::string::String;

use arrayvec::ArrayVec;
use paravane_abi::pte::{self, ENTRIES};
use paravane_abi::pvh::{
    HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo, XEN_HVM_MEMMAP_TYPE_RAM, XEN_HVM_START_MAGIC_VALUE,
};
use pv_guest_logic::memory_map::{end_of_first, widest_gap};
use zerocopy::{FromBytes, IntoBytes};

use super::{Boot, Early, IMAGE_SLOT, Plan, Span, image_flags, pfn_of, window};
use crate::arch::boot as image;
use crate::arch::notes::VIRT_BASE;
use crate::cpu_ops::native;
use crate::mm::addr::{self, DIRECT_SLOT, Mfn, PAGE, Pfn, page_down, page_up};
use crate::mm::table::KERNEL_TABLE;

/// Entries of the memory map that are looked at.
const MAP_ENTRIES: usize = 64;
/// Longest command line.
const COMMAND_LINE: usize = 4096;
/// What lies below is the firmware's, memory or not.
const FIRST_MIB: u64 = 1 << 20;

/// Frames that have one number.
struct Physical;

impl Early for Physical {
    fn mfn(&self, pfn: u64) -> u64 {
        pfn
    }

    fn open_window(&self, pfn: u64) {
        native::image_entry(window() as u64, pfn);
    }

    fn close_window(&self) {
        self.open_window(pfn_of(window() as u64));
    }
}

/// Reads what lies at a physical address, through the window.
fn read<T: FromBytes + IntoBytes>(address: u64) -> T {
    let mut value = T::new_zeroed();
    for (at, byte) in (address..).zip(value.as_mut_bytes()) {
        Physical.open_window(at / PAGE);
        // SAFETY: the window shows the frame, of which nothing is written meanwhile.
        *byte = unsafe { window().cast::<u8>().add((at % PAGE) as usize).read_volatile() };
    }
    Physical.close_window();
    value
}

/// The frames that a range of bytes touches.
fn frames_of(address: u64, size: u64) -> Span {
    page_down(address) / PAGE..page_up(address + size) / PAGE
}

/// What the loader says.
struct Loaded {
    info: HvmStartInfo,
    /// The first module, the initramfs.
    module: Option<HvmModlistEntry>,
    /// The first frame past the memory that begins at or below 1 MiB.
    nr_pages: u64,
}

impl Loaded {
    fn read(address: u64) -> Self {
        let info: HvmStartInfo = read(address);
        assert!(info.magic == XEN_HVM_START_MAGIC_VALUE, "hvm_start_info has no magic");
        assert!(info.version >= 1 && info.memmap_entries > 0, "the loader has given no memory map");
        let map: ArrayVec<HvmMemmapTableEntry, MAP_ENTRIES> = (0..u64::from(info.memmap_entries))
            .take(MAP_ENTRIES)
            .map(|index| read(info.memmap_paddr + index * size_of::<HvmMemmapTableEntry>() as u64))
            .collect();
        let ram = map.iter().filter(|entry| entry.kind == XEN_HVM_MEMMAP_TYPE_RAM);
        let end = end_of_first(ram.map(|entry| entry.addr..entry.addr + entry.size), FIRST_MIB);
        let module = (info.nr_modules > 0).then(|| read(info.modlist_paddr));
        Self { info, module, nr_pages: end / PAGE }
    }

    fn initrd(&self) -> Span {
        self.module.map_or(0..0, |module| frames_of(module.paddr, module.size))
    }

    fn plan(&self, address: u64) -> Plan {
        let [start, _, _, end] = image::image();
        let Self { info, nr_pages, .. } = *self;
        let modules = u64::from(info.nr_modules) * size_of::<HvmModlistEntry>() as u64;
        let initrd = self.initrd();
        assert!(initrd.end <= nr_pages && pfn_of(end) <= nr_pages, "what is loaded lies past the memory");
        let mut reserved = ArrayVec::new();
        reserved.extend([
            0..FIRST_MIB / PAGE,
            pfn_of(start)..pfn_of(end),
            initrd.clone(),
            frames_of(address, size_of::<HvmStartInfo>() as u64),
            frames_of(info.modlist_paddr, modules),
            frames_of(info.cmdline_paddr, COMMAND_LINE as u64),
        ]);
        let mut used = reserved.clone();
        let free = widest_gap(&mut used, nr_pages);
        let mut read_only = ArrayVec::new();
        read_only.push(initrd);
        Plan { nr_pages, reserved, read_only, free }
    }

    fn command_line(&self) -> String {
        if self.info.cmdline_paddr == 0 {
            return String::new();
        }
        let text: [u8; COMMAND_LINE] = core::array::from_fn(|at| {
            let address = self.info.cmdline_paddr + at as u64;
            if address / PAGE >= self.nr_pages {
                return 0;
            }
            // SAFETY: the direct map has all frames, and these are reserved.
            unsafe { Pfn(address / PAGE).bytes().add((address % PAGE) as usize).read() }
        });
        let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
        String::from_utf8_lossy(&text[..end]).into_owned()
    }
}

/// Builds the root table: the image at its addresses, and the direct map.
fn build_root(plan: &mut Plan) -> Pfn {
    let l3_direct = plan.build_direct_map(&Physical);
    let [start, _, _, end] = image::image();
    // The image lies in the first GiB of its slot.
    let first_l1 = pte::index(start, 2);
    let l1s = plan.take((pte::index(end - 1, 2) - first_l1 + 1) as u64);
    let l2 = plan.take(1).start;
    let l3 = plan.take(1).start;
    let l4 = plan.take(1).start;
    let table = |pfn| pte::entry(pfn, KERNEL_TABLE);
    for (i, l1) in l1s.clone().enumerate() {
        let base = VIRT_BASE + (first_l1 + i) as u64 * ENTRIES as u64 * PAGE;
        Physical.fill(l1, |index| {
            let va = base + index as u64 * PAGE;
            image_flags(va).map_or(0, |flags| pte::entry(pfn_of(va), flags))
        });
    }
    Physical.fill(l2, |index| {
        index
            .checked_sub(first_l1)
            .map(|i| l1s.start + i as u64)
            .filter(|l1| l1s.contains(l1))
            .map_or(0, table)
    });
    Physical.fill(l3, |index| if index == pte::index(VIRT_BASE, 3) { table(l2) } else { 0 });
    Physical.fill(l4, |index| match index {
        DIRECT_SLOT => table(l3_direct.0),
        IMAGE_SLOT => table(l3),
        _ => 0,
    });
    plan.reserved.push(l1s.start..l4 + 1);
    Pfn(l4)
}

/// Makes the list that has each frame's number for the machine: the same.
fn build_p2m(plan: &mut Plan) {
    let frames = plan.take((plan.nr_pages * 8).div_ceil(PAGE));
    let list: *mut u64 = Pfn(frames.start).bytes().cast();
    for pfn in 0..plan.nr_pages {
        // SAFETY: the frames were just taken, and the direct map has them.
        unsafe { list.add(pfn as usize).write(pfn) };
    }
    // SAFETY: the list has an entry for each page, and is never handed out; this kernel maps memory alone.
    unsafe { addr::set_identity(list, plan.nr_pages) };
    plan.reserved.push(frames);
}

/// Takes memory over from the boot loader; gives the command line too. `address` is `hvm_start_info`'s, physical.
///
/// # Safety
/// Called once, with what the loader passed, before anything else uses memory.
pub unsafe fn take_over(address: u64) -> (Boot, String) {
    let loaded = Loaded::read(address);
    let mut plan = loaded.plan(address);
    let root = build_root(&mut plan);
    native::load_root(Mfn(root.0));
    build_p2m(&mut plan);
    // SAFETY: this is the one call, and the direct map is loaded.
    unsafe { plan.start_allocators() };
    let size = loaded.module.map_or(0, |module| module.size) as usize;
    let offset = loaded.module.map_or(0, |module| module.paddr % PAGE) as usize;
    // SAFETY: the loader put the module there; its frames are reserved, and mapped read-only.
    let initrd = unsafe { core::slice::from_raw_parts(Pfn(loaded.initrd().start).bytes().add(offset), size) };
    (Boot { kernel_root: root, initrd }, loaded.command_line())
}
