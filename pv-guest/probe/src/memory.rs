//! The kernel's memory: what the domain builder mapped stays; frames for the cases come from the end.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU64, Ordering};

use paravane_abi::hypercall as nr;
use paravane_abi::memory::{MemoryReservation, XENMEM_POPULATE_PHYSMAP};
use paravane_abi::mmu::{DOMID_SELF, MACH2PHYS_VIRT_START};
use paravane_abi::pte;
use paravane_abi::shared_info::{SharedInfo, VcpuInfo, XEN_LEGACY_MAX_VCPUS};

use crate::boot::{VIRT_BASE, start};
use crate::hypercall::{map, operation, set_entry};

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Present.
pub const P: u64 = 1;
/// Writable.
pub const RW: u64 = 1 << 1;
/// For ring 3.
pub const US: u64 = 1 << 2;
/// Accessed.
pub const A: u64 = 1 << 5;
/// Dirty.
pub const D: u64 = 1 << 6;
/// A large page; PAT in an L1 entry.
pub const PS: u64 = 1 << 7;
/// Global.
pub const G: u64 = 1 << 8;
/// Not executable.
pub const NX: u64 = 1 << 63;
/// An ordinary page.
pub const DATA: u64 = P | RW | US | A | D;
/// An ordinary page that nobody writes.
pub const READ: u64 = P | US | A;

/// An L4 slot for the cases, which the builder leaves empty.
pub const WINDOW: u64 = 0xffff_8880_0000_0000;

/// A page of the image.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct Page(pub UnsafeCell<[u64; 512]>);

// SAFETY: there is one vcpu, and accesses are volatile or by the hypervisor.
unsafe impl Sync for Page {}

impl Page {
    /// A page of zeroes.
    #[must_use]
    pub const fn new() -> Self {
        Self(UnsafeCell::new([0; 512]))
    }

    /// Its address.
    pub fn address(&self) -> u64 {
        self.0.get() as u64
    }

    /// Maps the image's own frame there, as the builder did.
    fn restore(&self) {
        let result = map(self.address(), mfn(pfn_at(self.address())) << 12 | DATA);
        assert!(result == 0, "a page of the image: {result}");
    }
}

impl Default for Page {
    fn default() -> Self {
        Self::new()
    }
}

static SHARED: Page = Page::new();
static PEEK: Page = Page::new();
/// Windows of [`Reader`]s.
static WINDOWS: [Page; 5] = [const { Page::new() }; 5];
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Maps the shared page. The other frames stay as they are.
pub fn initialise() {
    NEXT.store(start().info.nr_pages - 1, Ordering::Relaxed);
    let result = map(SHARED.address(), start().info.shared_info | DATA | NX);
    assert!(result == 0, "the shared page: {result}");
}

/// Reads a word at an address.
///
/// # Safety
/// The address must be mapped.
pub unsafe fn read(address: u64) -> u64 {
    // SAFETY: as the caller promises.
    unsafe { (address as *const u64).read_volatile() }
}

/// Writes a word at an address.
///
/// # Safety
/// The address must be mapped, and what lies there must be the caller's.
pub unsafe fn write(address: u64, value: u64) {
    // SAFETY: as the caller promises.
    unsafe { (address as *mut u64).write_volatile(value) };
}

/// Where vcpus' parts of the shared page were placed by `VCPUOP_register_vcpu_info`; 0 where they are in the page.
static PLACED: [AtomicU64; XEN_LEGACY_MAX_VCPUS] = [const { AtomicU64::new(0) }; XEN_LEGACY_MAX_VCPUS];

/// Takes down that a vcpu's part of the shared page is at an address from now on, which stays mapped.
pub fn place_vcpu_info(vcpu: usize, address: u64) {
    PLACED[vcpu].store(address, Ordering::SeqCst);
}

/// A vcpu's part of the shared page, or where that was placed.
pub fn vcpu_info(vcpu: usize) -> *mut VcpuInfo {
    assert!(vcpu < XEN_LEGACY_MAX_VCPUS);
    match PLACED[vcpu].load(Ordering::SeqCst) {
        0 => {}
        placed => return placed as *mut VcpuInfo,
    }
    // SAFETY: within the array.
    unsafe { (&raw mut (*shared()).vcpu_info).cast::<VcpuInfo>().add(vcpu) }
}

/// Masks or unmasks vcpu 0's events, by the byte alone: what is pending stays so.
pub fn mask_events(masked: bool) {
    // SAFETY: a byte of the shared page, which is this vcpu's to write.
    unsafe { (&raw mut (*vcpu_info(0)).evtchn_upcall_mask).write_volatile(masked.into()) };
}

/// Whether vcpu 0's events are masked.
pub fn events_masked() -> bool {
    // SAFETY: a byte of the shared page.
    unsafe { (&raw const (*vcpu_info(0)).evtchn_upcall_mask).read_volatile() != 0 }
}

/// The page shared with the hypervisor.
pub fn shared() -> *mut SharedInfo {
    SHARED.0.get().cast()
}

/// The machine frame behind a guest frame, as the domain builder gave it.
pub fn mfn(pfn: u64) -> u64 {
    assert!(pfn < start().info.nr_pages, "pfn {pfn:#x}");
    // SAFETY: the builder's list has an entry for each page.
    unsafe { (start().info.mfn_list as *const u64).add(pfn as usize).read_volatile() }
}

/// Notes that another machine frame is behind a guest frame.
pub fn set_mfn(pfn: u64, frame: u64) {
    assert!(pfn < start().info.nr_pages, "pfn {pfn:#x}");
    // SAFETY: the builder's list has an entry for each page, and is the guest's to write.
    unsafe { (start().info.mfn_list as *mut u64).add(pfn as usize).write_volatile(frame) };
}

/// Gets a new machine frame for a guest frame that has none.
pub fn populate(pfn: u64) {
    let mut extent = pfn;
    let mut request = MemoryReservation {
        extent_start: &raw mut extent as u64,
        nr_extents: 1,
        domid: DOMID_SELF,
        ..Default::default()
    };
    let result = operation(nr::HYPERVISOR_MEMORY_OP, XENMEM_POPULATE_PHYSMAP, &mut request);
    assert!(result == 1, "a frame for pfn {pfn:#x}: {result}");
    set_mfn(pfn, extent);
}

/// What the machine-to-physical table says of a frame.
pub fn m2p(mfn: u64) -> u64 {
    // SAFETY: the table has an entry for each frame of RAM; the cases ask for such frames alone.
    unsafe { ((MACH2PHYS_VIRT_START + mfn * 8) as *const u64).read_volatile() }
}

/// The guest frame that the builder mapped at an address.
#[must_use]
pub fn pfn_at(va: u64) -> u64 {
    (va - VIRT_BASE) / PAGE
}

/// Takes a frame that the builder mapped nowhere, filled with zeroes: its guest frame.
pub fn take() -> u64 {
    let pfn = NEXT.fetch_sub(1, Ordering::Relaxed);
    let result = map(PEEK.address(), mfn(pfn) << 12 | DATA | NX);
    assert!(result == 0, "pfn {pfn:#x} cannot be written: {result}");
    for index in 0..512 {
        // SAFETY: the page maps the frame now.
        unsafe { PEEK.0.get().cast::<u64>().add(index).write_volatile(0) };
    }
    PEEK.restore();
    pfn
}

/// A frame of this domain, whatever its use, mapped for reading as long as the value lives.
#[derive(Debug)]
pub struct Reader(&'static Page);

impl Reader {
    /// Maps the frame in a window, which no other reader may use meanwhile.
    pub fn open(frame: u64, window: usize) -> Self {
        let page = &WINDOWS[window];
        let result = map(page.address(), frame << 12 | READ | NX);
        assert!(result == 0, "frame {frame:#x} cannot be read: {result}");
        Self(page)
    }

    /// Reads a word.
    pub fn word(&self, index: usize) -> u64 {
        assert!(index < 512);
        // SAFETY: the page maps the frame now.
        unsafe { self.0.0.get().cast::<u64>().add(index).read_volatile() }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.restore();
    }
}

/// Reads a word of one of this domain's frames, whatever its use.
pub fn peek(frame: u64, index: usize) -> u64 {
    Reader::open(frame, 0).word(index)
}

/// Writes a word of a frame of this domain's that is neither a table nor descriptors.
pub fn poke(frame: u64, index: usize, value: u64) {
    assert!(index < 512);
    let result = map(PEEK.address(), frame << 12 | DATA | NX);
    assert!(result == 0, "frame {frame:#x} cannot be written: {result}");
    // SAFETY: the page maps the frame now.
    unsafe { PEEK.0.get().cast::<u64>().add(index).write_volatile(value) };
    PEEK.restore();
}

/// Whether an address is that of a window, which is mapped and unmapped in between.
pub fn is_window(va: u64) -> bool {
    va == PEEK.address() || WINDOWS.iter().any(|page| page.address() == va)
}

/// The frame of the table in use.
pub fn root() -> u64 {
    mfn(pfn_at(start().info.pt_base))
}

/// The frame of the table of a level that maps an address; `None` where there is none.
pub fn table_at(va: u64, level: u32) -> Option<u64> {
    let mut table = root();
    for above in (level + 1..=4).rev() {
        let entry = peek(table, pte::index(va, above));
        if !pte::is_present(entry) || (above < 4 && entry & PS != 0) {
            return None;
        }
        table = pte::mfn(entry);
    }
    Some(table)
}

/// The entry of a level that maps an address, 0 where there is no table.
pub fn entry_at(va: u64, level: u32) -> u64 {
    table_at(va, level).map_or(0, |table| peek(table, pte::index(va, level)))
}

/// The L1 that maps an address, made with what leads to it.
pub fn l1_for(va: u64) -> u64 {
    let mut table = root();
    for level in [4, 3, 2] {
        let index = pte::index(va, level);
        let mut entry = peek(table, index);
        if !pte::is_present(entry) {
            entry = mfn(take()) << 12 | DATA;
            let result = set_entry(table, index, entry);
            assert!(result == 0, "a table for {va:#x}: {result}");
        }
        table = pte::mfn(entry);
    }
    table
}

/// Maps a new frame at an address: its guest frame.
pub fn map_new(va: u64, flags: u64) -> u64 {
    l1_for(va);
    let pfn = take();
    let result = map(va, mfn(pfn) << 12 | flags);
    assert!(result == 0, "mapping {va:#x}: {result}");
    pfn
}

/// An entry's flags in letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(pub u64);

impl core::fmt::Display for Flags {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        const NAMES: [&str; 12] =
            ["P", "RW", "US", "PWT", "PCD", "A", "D", "PS", "G", "AVL0", "AVL1", "AVL2"];
        let flags = self.0 & !pte::ADDRESS_MASK;
        let mut first = true;
        let mut put = |f: &mut core::fmt::Formatter<'_>, name: &str| {
            let space = if core::mem::take(&mut first) { "" } else { " " };
            write!(f, "{space}{name}")
        };
        for (bit, name) in NAMES.iter().enumerate() {
            if flags & 1 << bit != 0 {
                put(f, name)?;
            }
        }
        if flags & NX != 0 {
            put(f, "NX")?;
        }
        let high = (flags & pte::AVAILABLE_HIGH_MASK) >> 52;
        if high != 0 {
            write!(f, " AVL52={high:#x}")?;
        }
        if flags == 0 { f.write_str("none") } else { Ok(()) }
    }
}

/// An entry for a line: the guest frame by its number, and the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry(pub u64);

impl core::fmt::Display for Entry {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if self.0 == 0 {
            return f.write_str("0");
        }
        write!(f, "pfn {:#x}, {}", m2p(pte::mfn(self.0)), Flags(self.0))
    }
}
