//! This kernel's memory. What the domain builder mapped stays as it is and is the *core*: image, stacks, tables, shared
//! page. All other frames are mapped nowhere until a test takes them.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU8, Ordering};

use paravane_abi::hypercall as nr;
use paravane_abi::mmu::{MMUEXT_NEW_USER_BASEPTR, MMUEXT_PIN_L4_TABLE};
use paravane_abi::pte;
use paravane_abi::ring1::M2P_VIRT_START;
use paravane_abi::shared_info::SharedInfo;
use paravane_abi::start_info::StartInfo;
use paravane_abi::vm_assist::{VMASST_CMD_ENABLE, VMASST_TYPE_WRITABLE_PAGETABLES};

use crate::attacks::subject::kernel_stack;
use crate::hypercall::{map, mmuext, raw, set_entry};
use crate::notes::VIRT_BASE;
use crate::ring;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Present.
pub const P: u64 = 1;
/// Writable.
pub const RW: u64 = 1 << 1;
/// For programs.
pub const US: u64 = 1 << 2;
/// Write-through.
pub const PWT: u64 = 1 << 3;
/// Not cached.
pub const PCD: u64 = 1 << 4;
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
/// A page of the kernel's, writable.
pub const KERNEL: u64 = P | RW | A | D;
/// A page of the kernel's, read-only.
pub const READ: u64 = P | A;
/// A page of the programs'.
pub const USER: u64 = P | RW | US | A | D;

/// Where programs' code is placed.
pub const USER_CODE: u64 = 0x40_0000;
/// A page of data of theirs.
pub const USER_DATA: u64 = 0x40_1000;
/// The end of their stack.
pub const USER_STACK: u64 = 0x40_4000;
/// The last page of the lower half.
pub const LAST_LOW: u64 = 0x7fff_ffff_f000;
/// The first page above the hypervisor's range.
pub const FIRST_HIGH: u64 = 0xffff_8800_0000_0000;
/// A window of 512 pages for tests, all entries of one L1: L4 slot 273.
pub const WINDOW: u64 = 0xffff_8880_0000_0000;

/// Two pages for the fuzzer's structures, with nothing behind them that could be written by mistake: L4 slot 274.
pub const STRUCTURES: u64 = 0xffff_8900_0000_0000;
/// Pages for the structures of a long batch, [`BATCH_PAGES`] of them, in the same table.
pub const BATCH_STRUCTURES: u64 = STRUCTURES + 16 * PAGE;
/// Pages behind [`BATCH_STRUCTURES`].
pub const BATCH_PAGES: u64 = 4;

/// A page of the image.
#[repr(C, align(4096))]
pub struct Page(pub UnsafeCell<[u64; 512]>);

// SAFETY: pages are used by one vcpu, or are what vcpus fight over on purpose.
unsafe impl Sync for Page {}

impl Page {
    /// A page of zeroes.
    pub const fn new() -> Self {
        Self(UnsafeCell::new([0; 512]))
    }

    /// Its address.
    pub fn address(&self) -> u64 {
        self.0.get() as u64
    }
}

#[unsafe(link_section = ".bss.page")]
static SHARED: Page = Page::new();
#[unsafe(link_section = ".bss.page")]
static PEEK: Page = Page::new();

/// What is known of this domain's frames.
#[derive(Clone, Copy)]
pub struct Memory {
    p2m: *const u64,
    /// Pages of the domain.
    pub nr_pages: u64,
    /// The first frame that is not the core's.
    pub first_free: u64,
    next: u64,
    /// The root table's frame.
    pub l4: u64,
    /// The programs' root, which has their pages alone: in ring 3.
    pub user_l4: u64,
    /// Guest frame of the first of the builder's page tables.
    pub tables: u64,
    /// How many there are.
    pub nr_tables: u64,
    /// The console ring's frame.
    pub console: u64,
    /// The L1 of [`WINDOW`].
    pub window: u64,
    /// The shared page's frame, which is no guest frame.
    pub shared: u64,
    /// The port of the console's event.
    pub console_port: u32,
}

struct Cell(UnsafeCell<Memory>);

// SAFETY: written at boot and by vcpu 0.
unsafe impl Sync for Cell {}

static MEMORY: Cell = Cell(UnsafeCell::new(Memory {
    p2m: core::ptr::null(),
    nr_pages: 0,
    first_free: 0,
    next: 0,
    l4: 0,
    user_l4: 0,
    tables: 0,
    nr_tables: 0,
    console: 0,
    window: 0,
    shared: 0,
    console_port: 0,
}));

/// What is known.
pub fn memory() -> Memory {
    // SAFETY: a copy of plain numbers.
    unsafe { *MEMORY.0.get() }
}

fn change(act: impl FnOnce(&mut Memory)) {
    // SAFETY: vcpu 0 alone comes here, and nothing holds a reference.
    act(unsafe { &mut *MEMORY.0.get() });
}

/// The machine frame behind a guest frame, as the domain builder gave it.
pub fn mfn(pfn: u64) -> u64 {
    let memory = memory();
    assert!(pfn < memory.nr_pages, "pfn {pfn:#x}");
    // SAFETY: the builder's list has an entry for each page, mapped in the core.
    unsafe { memory.p2m.add(pfn as usize).read_volatile() }
}

/// The machine frame behind an address of the image.
pub fn core_mfn(va: u64) -> u64 {
    mfn((va - VIRT_BASE) / PAGE)
}

/// What the machine-to-physical table says of a frame.
pub fn m2p(mfn: u64) -> u64 {
    // SAFETY: the table has an entry for each frame of RAM and is readable in ring 1; frames asked for are below its end.
    unsafe { ((M2P_VIRT_START + mfn * 8) as *const u64).read_volatile() }
}

/// Takes a frame that is mapped nowhere, filled with zeroes. One that attacks have put to a use is passed over.
pub fn take() -> u64 {
    loop {
        let frame = mfn(memory().next);
        change(|memory| memory.next += 1);
        if try_fill(frame, |_| 0).is_ok() {
            return frame;
        }
    }
}

/// Writes all words of a frame, or says why it cannot be written.
fn try_fill(frame: u64, word: impl Fn(usize) -> u64) -> Result<(), i64> {
    match map(PEEK.address(), frame << 12 | KERNEL | NX) {
        0 => {}
        refused => return Err(refused),
    }
    for index in 0..512 {
        // SAFETY: the page maps the frame now.
        unsafe { PEEK.0.get().cast::<u64>().add(index).write_volatile(word(index)) };
    }
    assert!(map(PEEK.address(), 0) == 0);
    Ok(())
}

/// Writes all words of a frame that has no use as a table.
pub fn fill(frame: u64, word: impl Fn(usize) -> u64) {
    if let Err(refused) = try_fill(frame, word) {
        panic!("frame {frame:#x} cannot be written: {refused}");
    }
}

/// Reads a word of one of this domain's frames, whatever its use.
pub fn peek(frame: u64, index: usize) -> u64 {
    let result = map(PEEK.address(), frame << 12 | READ | NX);
    assert!(result == 0, "frame {frame:#x} cannot be read: {result}");
    // SAFETY: the page maps the frame now.
    let word = unsafe { PEEK.0.get().cast::<u64>().add(index).read_volatile() };
    assert!(map(PEEK.address(), 0) == 0);
    word
}

/// The L1 that maps an address in the core's root, made with what leads to it.
pub fn l1_for(va: u64) -> u64 {
    let mut table = memory().l4;
    for level in [4, 3, 2] {
        let index = pte::index(va, level);
        let mut entry = peek(table, index);
        if entry & P == 0 {
            entry = take() << 12 | USER;
            let result = set_entry(table, index, entry);
            assert!(result == 0, "a table for {va:#x}: {result}");
        }
        table = entry >> 12 & 0xff_ffff_ffff;
    }
    table
}

/// Maps a new frame at an address, for programs or not.
pub fn map_new(va: u64, flags: u64) -> u64 {
    l1_for(va);
    let frame = take();
    let result = map(va, frame << 12 | flags);
    assert!(result == 0, "mapping {va:#x}: {result}");
    frame
}

/// The end of the builder's mapping: at least 512 KiB behind the boot stack, at a multiple of 4 MiB (xen/xen.h, start-of-day
/// memory layout).
fn mapping_end(info: &StartInfo) -> u64 {
    let stack_end = info.pt_base + (info.nr_pt_frames + 1) * PAGE - VIRT_BASE;
    let end = stack_end.next_multiple_of(4 << 20);
    if end - stack_end < 512 << 10 { end + (4 << 20) } else { end }
}

/// Has the hypervisor perform writes of page tables by mappings for reading, which attacks make.
pub fn emulate_table_writes() {
    raw(
        nr::HYPERVISOR_VM_ASSIST,
        [VMASST_CMD_ENABLE.into(), VMASST_TYPE_WRITABLE_PAGETABLES.into(), 0, 0, 0],
    );
}

/// Takes memory over from the builder and maps what the tests need.
pub fn initialise(info: &StartInfo) {
    emulate_table_writes();
    let first = mapping_end(info) / PAGE;
    let tables = (info.pt_base - VIRT_BASE) / PAGE;
    change(|memory| {
        memory.p2m = info.mfn_list as *const u64;
        memory.nr_pages = info.nr_pages;
        memory.first_free = first;
        memory.next = first;
        memory.tables = tables;
        memory.nr_tables = info.nr_pt_frames;
        memory.console = info.console_mfn;
        memory.shared = info.shared_info / PAGE;
        memory.console_port = info.console_evtchn;
    });
    let root = mfn(tables);
    change(|memory| memory.l4 = root);
    let result = map(SHARED.address(), info.shared_info | KERNEL | NX);
    assert!(result == 0, "the shared page: {result}");
    for page in [USER_CODE, USER_DATA, USER_STACK - 2 * PAGE, USER_STACK - PAGE, LAST_LOW, FIRST_HIGH] {
        map_new(page, USER);
    }
    let batch = (0..BATCH_PAGES).map(|page| BATCH_STRUCTURES + page * PAGE);
    for page in [STRUCTURES, STRUCTURES + PAGE].into_iter().chain(batch) {
        map_new(page, KERNEL | NX);
    }
    let window = l1_for(WINDOW);
    change(|memory| memory.window = window);
    if ring::is_3() {
        prepare_programs(root);
    }
}

/// In ring 3 programs have a root of their own. Its entries for their pages are the kernel's.
fn prepare_programs(root: u64) {
    let slots = [USER_CODE, LAST_LOW, FIRST_HIGH].map(|page| pte::index(page, 4));
    let entries = slots.map(|slot| peek(root, slot));
    let user = take();
    fill(user, |index| slots.iter().position(|slot| *slot == index).map_or(0, |at| entries[at]));
    for (command, what) in [(MMUEXT_PIN_L4_TABLE, "pinning"), (MMUEXT_NEW_USER_BASEPTR, "loading")] {
        let result = mmuext(command, user, 0);
        assert!(result == 0, "{what} the programs' root: {result}");
    }
    change(|memory| memory.user_l4 = user);
    // A 32-bit segment that the kernel returns to in ring 3 cuts RSP off. Frames are to find a stack there too.
    let page = kernel_stack() & 0xffff_f000;
    assert!(!(USER_CODE..USER_STACK).contains(&page), "the low stack lies in the programs' memory");
    l1_for(page);
    let result = map(page, take() << 12 | KERNEL | NX);
    assert!(result == 0, "the low stack: {result}");
}

/// The page shared with the hypervisor.
pub fn shared() -> *mut SharedInfo {
    SHARED.0.get().cast()
}

/// A vcpu's event mask.
pub fn event_mask(vcpu: usize) -> &'static AtomicU8 {
    // SAFETY: a byte of the shared page, which all access as an atomic.
    unsafe { AtomicU8::from_ptr(&raw mut (*shared()).vcpu_info[vcpu].evtchn_upcall_mask) }
}

/// A vcpu's flag that an event is pending.
pub fn event_pending(vcpu: usize) -> &'static AtomicU8 {
    // SAFETY: as above.
    unsafe { AtomicU8::from_ptr(&raw mut (*shared()).vcpu_info[vcpu].evtchn_upcall_pending) }
}

/// Forgets all events. From the top down: an event that comes meanwhile leaves at most a summary without a port, which
/// wakes a vcpu for nothing. From the bottom up it could leave a port pending without a summary, and a port that is
/// pending is not raised again: who then slept until it is raised would sleep for ever.
pub fn clear_events() {
    event_pending(0).store(0, Ordering::SeqCst);
    // SAFETY: volatile writes in the shared page.
    unsafe {
        (&raw mut (*shared()).vcpu_info[0].evtchn_pending_sel).write_volatile(0);
        (&raw mut (*shared()).evtchn_pending).write_volatile([0; 64]);
    }
}
