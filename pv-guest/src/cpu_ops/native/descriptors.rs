//! Descriptor tables: the GDT and the IDT, each in a page of its own, the task state, and the stacks that it names for the
//! two vectors that cannot use whatever RSP is: a double fault, and an NMI, which comes between `syscall`'s first two
//! instructions too.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::Ordering;

use paravane_abi::trap::vector;

use super::entry::{irq_stub, native_stack_top};
use super::{FIRST_IRQ, KERNEL, TrapEntry};
use crate::arch::stack::{self, STACK_SIZE};
use crate::cpu;

/// The selector of the task state.
pub const TASK: u16 = 0x28;
/// The selector of a local descriptor table in which nothing is, and which nothing of this kernel's uses.
pub const LOCAL_TABLE: u16 = 0x38;
/// Places of the GDT: a descriptor of the task state, and one of a local table, takes two.
const DESCRIPTORS: usize = 9;
/// 64-bit code of ring 0; data; data and code of ring 3. All accessed: the table may be read-only.
const SEGMENTS: [u64; 5] =
    [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff, 0x00cf_f300_0000_ffff, 0x00af_fb00_0000_ffff];
/// A task state that is available: 64-bit, present, ring 0's.
const AVAILABLE_TASK: u64 = 0x89 << 40;
/// A local table of 8 bytes at address 0: they are never looked at.
const LOCAL_TABLE_LOW: u64 = 0x82 << 40 | 7;
/// Bytes of the task state in 64-bit mode, and where in it RSP0 and the first IST are (SDM volume 3, 8.7).
pub const TASK_SIZE: usize = 104;
const RSP0: usize = 4;
const IST1: usize = 36;
/// Places of the I/O permission map's offset: past the end, so there is none.
const IO_MAP: usize = 102;
/// Interrupt lines of the two controllers.
const IRQS: u64 = 16;

#[repr(C, align(4096))]
struct Page<T>(UnsafeCell<T>);

// SAFETY: written by the one CPU's boot, and by whoever changes a gate or the stack; read by the processor.
unsafe impl<T> Sync for Page<T> {}

#[repr(C, align(16384))]
struct Stack(UnsafeCell<[u8; STACK_SIZE]>);

// SAFETY: the processor's, once named in the task state.
unsafe impl Sync for Stack {}

#[unsafe(link_section = ".bss.page")]
static GDT: Page<[u64; DESCRIPTORS]> = Page(UnsafeCell::new([0; DESCRIPTORS]));
#[unsafe(link_section = ".bss.page")]
static IDT: Page<[[u64; 2]; 256]> = Page(UnsafeCell::new([[0; 2]; 256]));
#[unsafe(link_section = ".bss.page")]
static TASK_STATE: Page<[u8; TASK_SIZE]> = Page(UnsafeCell::new([0; TASK_SIZE]));
#[unsafe(link_section = ".bss.page")]
static STACKS: [Stack; 2] = [const { Stack(UnsafeCell::new([0; STACK_SIZE])) }; 2];

/// The vectors with stacks of their own, in their order.
const OWN_STACK: [u8; 2] = [vector::DF, vector::NMI];

/// What `lgdt` and `lidt` read.
#[repr(C, packed(2))]
struct Pointer {
    limit: u16,
    base: u64,
}

fn pointer_to<T>(page: &Page<T>) -> Pointer {
    Pointer { limit: (size_of::<T>() - 1) as u16, base: page.0.get() as u64 }
}

/// Writes a word of the task state, which is not aligned in it.
fn set_task_word(offset: usize, value: u64) {
    assert!(offset + 8 <= TASK_SIZE);
    // SAFETY: the word lies in the task state, which the processor reads only.
    unsafe { TASK_STATE.0.get().cast::<u8>().add(offset).cast::<u64>().write_unaligned(value) };
}

fn fill_task_state() {
    for (index, own) in STACKS.iter().enumerate() {
        // SAFETY: the stack is as large and as aligned as every one of this kernel's, zeroed, and nothing runs on it yet.
        let info = unsafe { &*stack::info_of(own.0.get() as u64) };
        info.cpu.store(ptr::from_ref(cpu::get(0)).cast_mut(), Ordering::Relaxed);
        set_task_word(IST1 + index * 8, info.top());
    }
    // SAFETY: as above.
    unsafe { TASK_STATE.0.get().cast::<u8>().add(IO_MAP).cast::<u16>().write(TASK_SIZE as u16) };
}

fn fill_gdt() {
    let base = TASK_STATE.0.get() as u64;
    let low = (TASK_SIZE as u64 - 1) | (base & 0xff_ffff) << 16 | AVAILABLE_TASK | (base >> 24 & 0xff) << 56;
    let gdt = GDT.0.get().cast::<u64>();
    for (index, descriptor) in SEGMENTS.into_iter().chain([low, base >> 32, LOCAL_TABLE_LOW, 0]).enumerate() {
        // SAFETY: nine places; the processor does not have the table yet.
        unsafe { gdt.add(index).write(descriptor) };
    }
}

/// What `lgdt` and `lidt` read of this kernel's tables, as words of memory.
pub fn pointers() -> [[u64; 2]; 2] {
    [pointer_to(&GDT), pointer_to(&IDT)]
        .map(|Pointer { limit, base }| [u64::from(limit) | base << 16, base >> 48])
}

/// Loads the tables, and every segment register with what is in them now.
fn load() {
    let (gdt, idt) = (pointer_to(&GDT), pointer_to(&IDT));
    // SAFETY: the tables live for good. CS is exchanged by a far return to the next instruction; this kernel uses no other
    // segment, and programs find theirs null.
    unsafe {
        asm!(
            "lgdt [{gdt}]",
            "lidt [{idt}]",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2: mov {scratch:e}, {stack}",
            "mov ss, {scratch:e}",
            "xor {scratch:e}, {scratch:e}",
            "mov ds, {scratch:e}",
            "mov es, {scratch:e}",
            "mov fs, {scratch:e}",
            "mov gs, {scratch:e}",
            "mov {scratch:e}, {task}",
            "ltr {scratch:x}",
            gdt = in(reg) &raw const gdt,
            idt = in(reg) &raw const idt,
            scratch = out(reg) _,
            code = const KERNEL.code,
            stack = const KERNEL.stack,
            task = const TASK,
        );
    }
}

/// Makes the tables and loads them. From here on exceptions have somewhere to go.
pub fn init() {
    fill_task_state();
    fill_gdt();
    crate::trap::table().for_each(|entry| set_gate(&entry));
    for line in 0..IRQS {
        let vector = (FIRST_IRQ + line) as u8;
        set_gate(&TrapEntry { vector, dpl: 0, address: irq_stub(line as usize) });
    }
    load();
}

/// Makes an interrupt gate (SDM volume 3, 6.14.1).
pub fn set_gate(entry: &TrapEntry) {
    const PRESENT: u64 = 1 << 47;
    const INTERRUPT_GATE: u64 = 0xe << 40;
    let TrapEntry { vector, dpl, address } = *entry;
    let ist = OWN_STACK.iter().position(|&own| own == vector).map_or(0, |index| index as u64 + 1);
    let low = address & 0xffff
        | u64::from(KERNEL.code) << 16
        | ist << 32
        | INTERRUPT_GATE
        | u64::from(dpl) << 45
        | PRESENT
        | (address >> 16 & 0xffff) << 48;
    let gate = [low, address >> 32];
    // SAFETY: there are 256 places. Interrupts are off, and an exception of this very vector does not come meanwhile.
    unsafe { IDT.0.get().cast::<[u64; 2]>().add(usize::from(vector)).write(gate) };
}

/// Where entries from ring 3 put their frames: those through gates by the task state, `syscall` by a word of its own.
pub fn set_kernel_stack(top: u64) {
    set_task_word(RSP0, top);
    // SAFETY: a word of the entry stubs', which only this CPU uses.
    unsafe { native_stack_top.store(top, Ordering::Relaxed) };
}
