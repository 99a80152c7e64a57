//! Descriptor tables. Every vector has a gate of its own stub's and a stack that is known, so that whatever attacks do to
//! RSP, there is a way back.

use core::cell::UnsafeCell;

use super::guard::stub;
use super::memory::DIRECT;

/// Selectors.
pub const KERNEL_CODE: u16 = 0x08;
/// The kernel's data.
pub const KERNEL_STACK: u16 = 0x10;
/// A program's data.
pub const USER_STACK: u16 = 0x1b;
/// A program's 64-bit code.
pub const USER_CODE: u16 = 0x23;
/// The task state.
pub const TASK: u16 = 0x28;
/// A program's 32-bit code.
pub const USER_CODE32: u16 = 0x3b;
/// The first place of the GDT that is for attacks.
pub const FREE: u16 = 0x40;
/// Places of the GDT.
pub const PLACES: usize = 512;
/// The first vector whose gate is for attacks.
pub const FREE_VECTOR: u8 = 0x90;
/// The vector that programs may raise, as systems use it.
pub const SYSTEM_CALL: u8 = 0x80;

const SEGMENTS: [u64; 8] = [
    0,
    0x00af_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x00cf_f300_0000_ffff,
    0x00af_fb00_0000_ffff,
    // Filled in: the task state.
    0,
    0,
    0x00cf_fb00_0000_ffff,
];
/// Bytes of the task state.
pub const TASK_SIZE: u64 = 104;

#[repr(C, align(4096))]
struct Page<T>(UnsafeCell<T>);

// SAFETY: one processor; attacks write by physical address.
unsafe impl<T> Sync for Page<T> {}

#[unsafe(link_section = ".bss.page")]
static GDT: Page<[u64; PLACES]> = Page(UnsafeCell::new([0; PLACES]));
#[unsafe(link_section = ".bss.page")]
static IDT: Page<[[u64; 2]; 256]> = Page(UnsafeCell::new([[0; 2]; 256]));
#[unsafe(link_section = ".bss.page")]
static TASK_STATE: Page<[u32; 512]> = Page(UnsafeCell::new([0; 512]));
/// Two pages of the stacks: for exceptions and interrupts, and as RSP0.
#[unsafe(link_section = ".bss.page")]
static STACKS: Page<[u8; 0x4000]> = Page(UnsafeCell::new([0; 0x4000]));

/// The tables, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Segments.
    Gdt,
    /// Gates.
    Idt,
    /// The task state.
    Task,
}

/// Where a table is, as the kernel sees it.
pub fn address(table: Table) -> u64 {
    match table {
        Table::Gdt => GDT.0.get() as u64,
        Table::Idt => IDT.0.get() as u64,
        Table::Task => TASK_STATE.0.get() as u64,
    }
}

/// Where a table is in memory.
pub fn physical(table: Table) -> u64 {
    address(table) - DIRECT
}

/// What `lgdt` and `lidt` read.
pub fn pointer(table: Table) -> [u8; 10] {
    pointer_to(address(table), 4095)
}

/// The same for any place and limit.
pub fn pointer_to(base: u64, limit: u16) -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[..2].copy_from_slice(&limit.to_le_bytes());
    bytes[2..].copy_from_slice(&base.to_le_bytes());
    bytes
}

/// The end of the stack that all gates use.
pub fn gate_stack() -> u64 {
    STACKS.0.get() as u64 + 0x2000
}

/// The end of the stack that RSP0 names.
pub fn ring0_stack() -> u64 {
    STACKS.0.get() as u64 + 0x4000
}

/// An interrupt gate for everyone to this code, on the first stack of the task state.
pub const fn gate(target: u64) -> [u64; 2] {
    gate_with(target, KERNEL_CODE, 1, 0xee)
}

/// Any gate: the selector, the number of the stack, and the byte of type, level and presence.
pub const fn gate_with(target: u64, selector: u16, stack: u8, access: u8) -> [u64; 2] {
    let low = target & 0xffff | (selector as u64) << 16 | (stack as u64) << 32 | (access as u64) << 40;
    [low | (target >> 16 & 0xffff) << 48, target >> 32]
}

/// Writes a gate.
pub fn set_gate(vector: u8, gate: [u64; 2]) {
    // SAFETY: 256 places.
    unsafe { IDT.0.get().cast::<[u64; 2]>().add(usize::from(vector)).write_volatile(gate) };
}

/// Writes a descriptor.
pub fn set_descriptor(selector: u16, raw: u64) {
    let index = usize::from(selector >> 3);
    assert!(index < PLACES);
    // SAFETY: the index is in range.
    unsafe { GDT.0.get().cast::<u64>().add(index).write_volatile(raw) };
}

/// The two words of a system descriptor.
pub const fn system(base: u64, limit: u64, access: u8) -> [u64; 2] {
    let low = limit & 0xffff | (base & 0xff_ffff) << 16 | (access as u64) << 40 | (limit >> 16 & 0xf) << 48;
    [low | (base >> 24 & 0xff) << 56, base >> 32]
}

/// Writes a word of the task state.
pub fn set_task_word(offset: u64, value: u64) {
    assert!(offset + 8 <= 2048);
    // SAFETY: within the page; the words are not aligned.
    unsafe { ((address(Table::Task) + offset) as *mut u64).write_unaligned(value) };
}

/// Where RSP0 is in the task state, and the first stack of the table.
pub const RSP0: u64 = 4;
/// The first of the seven.
pub const IST1: u64 = 36;

/// The task state can be loaded again.
pub fn make_task_available() {
    let [low, high] = system(address(Table::Task), TASK_SIZE - 1, 0x89);
    set_descriptor(TASK, low);
    set_descriptor(TASK + 8, high);
}

/// Makes all of them as they are meant to be.
pub fn fill() {
    for index in 0..PLACES {
        set_descriptor((index * 8) as u16, SEGMENTS.get(index).copied().unwrap_or(0));
    }
    make_task_available();
    for vector in 0..=255 {
        // As systems have it: programs raise breakpoints and system calls.
        let access = if matches!(vector, 3 | 4 | SYSTEM_CALL | FREE_VECTOR..) { 0xee } else { 0x8e };
        set_gate(vector, gate_with(stub(vector), KERNEL_CODE, 1, access));
    }
    (0..2048 / 8).for_each(|index| set_task_word(index * 8, 0));
    set_task_word(RSP0, ring0_stack());
    set_task_word(IST1, gate_stack());
    // The I/O map's offset, behind the end: there is none.
    set_task_word(0x60, TASK_SIZE << 48);
}
