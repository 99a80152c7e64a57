//! The entry area: what of the hypervisor stays mapped while a guest runs.
//!
//! ```text
//! offset    pages  access  content
//! 0x00000   14     read    guest descriptor tables (segment-descriptor frames, or a page of zeroes)
//! 0x0e000   1      read    reserved descriptors
//! 0x10000   1      read    IDT
//! 0x11000   1      read    CpuPage: TSS, table roots, handlers, the ready-made `syscall` frame
//! 0x12000   1..4   execute entry code
//! 0x20000   1      write   entry stack; its first word is the user's RSP at the latest `syscall`
//! 0x30000   1      write   NMI stack
//! 0x32000   1      write   #DF stack
//! 0x34000   1      write   #MC stack
//! 0x36000   1      write   #DB stack
//! 0x40000   16     read    pages of the guest's LDT, as far as they are held
//! ```
//!
//! Every address space of a processor maps that processor's own pages here, so entry code finds them without
//! GS. The hypervisor writes them through the direct map: even in its own tables the area is read-only.
//! Ring 1 can write the stacks, but only while nothing stands on them (`docs/soundness.md`).

use core::cell::Cell;
use core::mem::{offset_of, size_of};

use paravane_abi::ring1::ENTRY_AREA;
use paravane_core::descriptor::{self, Gate, LDT_ENTRIES, LDT_SELECTOR, LDT_WINDOW, Policy};
use paravane_core::pagetable::{LDT_PAGES, Ldt};
use static_assertions::const_assert_eq;

use crate::boot::memory_map::{FRAME_SIZE, MemoryMap, Range};
use crate::cpu::interrupts;
use crate::cpu::local::Local;
use crate::direct_map;
use crate::tables::{self, Tables};

/// Pages of descriptor window that belong to the guest.
pub const GUEST_GDT_PAGES: usize = 14;
/// Linear address of the GDT.
pub const GDT: u64 = ENTRY_AREA;
/// Highest valid offset in the GDT: 15 pages.
pub const GDT_LIMIT: u16 = 0xefff;
/// Linear address of the IDT.
pub const IDT: u64 = ENTRY_AREA + 0x1_0000;
/// Linear address of the [`CpuPage`].
pub const CPU_PAGE: u64 = ENTRY_AREA + 0x1_1000;
const CODE: u64 = ENTRY_AREA + 0x1_2000;
const ENTRY_STACK: u64 = ENTRY_AREA + 0x2_0000;
const IST_STACKS: [u64; 4] =
    [ENTRY_AREA + 0x3_0000, ENTRY_AREA + 0x3_2000, ENTRY_AREA + 0x3_4000, ENTRY_AREA + 0x3_6000];

/// Where the processor starts to push: room above for `cpu_user_regs`' es, ds, fs and gs.
pub const FRAME_TOP: u64 = ENTRY_STACK + FRAME_SIZE - 32;
/// The guest's registers while the hypervisor runs: a `CpuUserRegs`.
pub const FRAME: u64 = FRAME_TOP - 168;

/// Interrupt-stack-table indices (1-based, as IDT gates name them).
pub const IST_NMI: u8 = 1;
/// For #DF.
pub const IST_DOUBLE_FAULT: u8 = 2;
/// For #MC.
pub const IST_MACHINE_CHECK: u8 = 3;
/// For #DB.
pub const IST_DEBUG: u8 = 4;

/// The 64-bit task-state segment (Intel SDM vol. 3, 8.7).
#[repr(C, packed(4))]
pub struct TaskState {
    reserved0: u32,
    /// Stack pointers for entries to rings 0 to 2.
    pub rsp: [u64; 3],
    reserved1: u64,
    /// The interrupt stack table.
    pub ist: [u64; 7],
    reserved2: u64,
    reserved3: u16,
    /// Offset of the I/O permission bitmap; past the limit, so that no port is granted.
    pub io_map_base: u16,
}
const_assert_eq!(size_of::<TaskState>(), 104);

/// What entry code and the processor read; the linker script repeats the offsets as `cpu_*`.
#[repr(C)]
pub struct CpuPage {
    /// The task-state segment.
    pub tss: TaskState,
    padding: [u64; 3],
    /// Root of the hypervisor's tables.
    pub hypervisor_cr3: u64,
    /// Root that the guest runs on.
    pub guest_cr3: u64,
    /// Top of the hypervisor's stack.
    pub hypervisor_stack: u64,
    /// Rust handler for exceptions and interrupts from a guest.
    pub guest_handler: u64,
    /// Rust handler for `int 0x82`.
    pub hypercall_handler: u64,
    /// Rust handler for exceptions and interrupts from ring 0.
    pub ring0_handler: u64,
    /// Rust handler for NMI, #DF and #MC.
    pub paranoid_handler: u64,
    /// Top of the stack those three run on.
    pub nmi_stack: u64,
    /// RIP, CS, RFLAGS, RSP, SS: what `syscall` enters ring 1 with.
    pub syscall_frame: [u64; 5],
    /// The processor's number.
    pub number: usize,
    /// The processor's own words, in the hypervisor's memory.
    pub local: *const Local,
}
const_assert_eq!(offset_of!(CpuPage, hypervisor_cr3), 0x80);
const_assert_eq!(offset_of!(CpuPage, guest_cr3), 0x88);
const_assert_eq!(offset_of!(CpuPage, hypervisor_stack), 0x90);
const_assert_eq!(offset_of!(CpuPage, guest_handler), 0x98);
const_assert_eq!(offset_of!(CpuPage, hypercall_handler), 0xa0);
const_assert_eq!(offset_of!(CpuPage, ring0_handler), 0xa8);
const_assert_eq!(offset_of!(CpuPage, paranoid_handler), 0xb0);
const_assert_eq!(offset_of!(CpuPage, nmi_stack), 0xb8);
const_assert_eq!(offset_of!(CpuPage, syscall_frame), 0xc0);

unsafe extern "C" {
    static __entry_load: u8;
    static __entry_size: u8;
}

/// Physical addresses of the entry code, which all processors share.
pub fn code() -> Range {
    let start = direct_map::image_physical(&raw const __entry_load);
    Range::covering(start, &raw const __entry_size as u64)
}

/// The frames behind one processor's entry area, as the hypervisor writes them.
pub struct EntryArea {
    cpu_page: u64,
    idt: u64,
    reserved_gdt: u64,
    /// A page of zeroes: null descriptors where the guest has given no frame.
    empty_gdt: u64,
    /// Leaf entries of the guest's part of the GDT window.
    gdt_window: *mut u64,
    /// Leaf entries of the window onto the LDT.
    ldt_window: *mut u64,
    /// An LDT is loaded.
    ldt_shown: Cell<bool>,
}

// SAFETY: the pointers lead into tables of this processor, which move with the value that owns them.
unsafe impl Send for EntryArea {}

impl EntryArea {
    /// Allocates and maps the area in `tables`.
    pub fn new(memory: &mut MemoryMap, tables: &mut Tables) -> Self {
        let (cpu_page, idt, reserved_gdt, empty_gdt) = (
            tables::new_table(memory),
            tables::new_table(memory),
            tables::new_table(memory),
            tables::new_table(memory),
        );
        for page in 0..GUEST_GDT_PAGES as u64 {
            tables.map(memory, GDT + page * FRAME_SIZE, empty_gdt, tables::READ);
        }
        tables.map(memory, GDT + 14 * FRAME_SIZE, reserved_gdt, tables::READ);
        tables.map(memory, IDT, idt, tables::READ);
        tables.map(memory, CPU_PAGE, cpu_page, tables::READ);
        let code = code();
        for frame in (code.start..code.end).step_by(FRAME_SIZE as usize) {
            tables.map(memory, CODE + (frame - code.start), frame, tables::READ_EXECUTE);
        }
        for stack in IST_STACKS.into_iter().chain([ENTRY_STACK]) {
            let frame = tables::new_table(memory);
            tables.map(memory, stack, frame, tables::READ_WRITE);
        }
        let gdt_window = tables.leaf_slot(memory, GDT);
        let ldt_window = tables.leaf_slot(memory, LDT_WINDOW);
        let ldt_shown = Cell::new(false);
        let area = Self { cpu_page, idt, reserved_gdt, empty_gdt, gdt_window, ldt_window, ldt_shown };
        area.write_tss();
        area.write_reserved_gdt();
        area
    }

    /// The processor's page, through the direct map.
    #[inline]
    pub fn cpu(&mut self) -> &mut CpuPage {
        // SAFETY: the frame holds a CpuPage (all-zero is a valid one) and only this value refers to it; the
        // processor and entry code read it, but never while this reference lives.
        unsafe { &mut *direct_map::pointer(self.cpu_page) }
    }

    fn write_tss(&self) {
        // SAFETY: as in `cpu`; the area is not in use yet.
        let tss = unsafe { &mut (*direct_map::pointer::<CpuPage>(self.cpu_page)).tss };
        tss.rsp = [FRAME_TOP, 0, 0];
        tss.ist = [0; 7];
        let mut ist = [0; 7];
        for (slot, stack) in ist.iter_mut().zip(IST_STACKS) {
            // Room for all of a `CpuUserRegs` above what entry code pushes, as on the entry stack.
            *slot = stack + FRAME_SIZE - 32;
        }
        tss.ist = ist;
        tss.io_map_base = size_of::<TaskState>() as u16;
    }

    fn write_reserved_gdt(&self) {
        let tss = descriptor::tss_descriptor(CPU_PAGE, size_of::<TaskState>() as u32 - 1);
        let page = descriptor::reserved_gdt_page(Policy::Ring1, tss);
        for (index, raw) in page.iter().enumerate() {
            self.write_reserved(index, *raw);
        }
    }

    /// Writes one descriptor of the reserved page; `index` counts from selector 0xe000.
    pub fn write_reserved(&self, index: usize, raw: u64) {
        assert!(index < 512, "descriptor index within the page");
        // SAFETY: inside the reserved page, which only this value writes; the processor reads descriptors
        // when selectors are loaded, and an aligned 8-byte store is seen whole.
        unsafe { direct_map::pointer::<u64>(self.reserved_gdt).add(index).write_volatile(raw) }
    }

    /// Where the GDT would begin if only its reserved page were mapped, writable: `ltr` sets a busy bit.
    pub fn writable_gdt(&self) -> u64 {
        direct_map::virt(self.reserved_gdt) - 14 * FRAME_SIZE
    }

    /// Reads one descriptor of the reserved page.
    pub fn reserved(&self, index: usize) -> u64 {
        assert!(index < 512, "descriptor index within the page");
        // SAFETY: inside the reserved page.
        unsafe { direct_map::pointer::<u64>(self.reserved_gdt).add(index).read_volatile() }
    }

    /// Writes a gate of the IDT.
    pub fn write_gate(&self, vector: u8, gate: Gate) {
        let slot = direct_map::pointer::<[u64; 2]>(self.idt);
        // SAFETY: vector is below 256, so the slot lies in the IDT's frame.
        unsafe { slot.add(usize::from(vector)).write_volatile(gate.0) }
    }

    /// Shows `frame` (a segment-descriptor frame) at a page of the guest's part of the GDT, or nothing.
    pub fn map_guest_gdt(&mut self, page: usize, frame: Option<u64>) {
        assert!(page < GUEST_GDT_PAGES, "page within the guest's part of the window");
        let entry = frame.unwrap_or(self.empty_gdt) | tables::READ.bits();
        // SAFETY: the window's leaf entries stand next to each other in one table of ours.
        unsafe { self.gdt_window.add(page).write_volatile(entry) };
        // The hypervisor itself loads GS through the window; the guest's translations go when the exit loads CR3.
        x86_64::instructions::tlb::flush(x86_64::VirtAddr::new(GDT + page as u64 * FRAME_SIZE));
    }

    /// Loads the guest's LDT and shows the pages of it that are held, and no others.
    pub fn show_ldt(&self, ldt: &Ldt) {
        let present = ldt.entries() != 0;
        if !present && !self.ldt_shown.get() {
            return;
        }
        for (page, frame) in ldt.pages().iter().enumerate() {
            let entry = frame.map_or(0, |frame| frame.address() | tables::READ.bits());
            // SAFETY: the window's leaf entries stand next to each other in one table of ours.
            unsafe { self.ldt_window.add(page).write_volatile(entry) };
            // As with the GDT: ring 0 loads selectors through the window.
            x86_64::instructions::tlb::flush(x86_64::VirtAddr::new(LDT_WINDOW + page as u64 * FRAME_SIZE));
        }
        // What another guest's was is nobody's business.
        let words =
            if present { descriptor::ldt_descriptor(LDT_WINDOW, ldt.entries() * 8 - 1) } else { [0; 2] };
        for (index, word) in LDT_ENTRIES.into_iter().zip(words) {
            self.write_reserved(index, word);
        }
        interrupts::load_ldt(if present { LDT_SELECTOR } else { 0 });
        self.ldt_shown.set(present);
    }
}

const_assert_eq!(LDT_WINDOW + LDT_PAGES as u64 * FRAME_SIZE, ENTRY_AREA + 0x5_0000);
