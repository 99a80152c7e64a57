//! The state of the processor and of the board that this kernel runs with. Attacks change it as they like; between them it
//! is made anew.

use core::arch::asm;

use super::guard::system_calls;
use super::memory;
use super::registers::{self as regs, msr, out, wrmsr};
use super::serial;
use super::tables::{self, Table};

/// CR0: PE, MP, ET, NE, WP, PG.
pub const CR0: u64 = 1 << 31 | 1 << 16 | 1 << 5 | 1 << 4 | 1 << 1 | 1;
/// CR4: PAE, OSFXSR, OSXMMEXCPT.
pub const CR4: u64 = 1 << 5 | 1 << 9 | 1 << 10;
/// EFER: SCE, LME, LMA, NXE.
pub const EFER: u64 = 1 | 1 << 8 | 1 << 10 | 1 << 11;
/// `syscall` loads CS 0x08 and SS 0x10, `sysret` CS 0x23 and SS 0x1b.
pub const STAR: u64 = 0x08 << 32 | 0x10 << 48;
/// What `syscall` clears: TF, IF, DF, IOPL, NT, AC.
pub const SFMASK: u64 = 1 << 8 | 1 << 9 | 1 << 10 | 3 << 12 | 1 << 14 | 1 << 18;

/// Vector of interrupt line 0.
pub const FIRST_IRQ: u8 = 0x20;

/// All of it.
pub fn restore() {
    regs::set_cr3(memory::root());
    regs::set_dr7(0x400);
    regs::set_cr0(CR0);
    regs::set_cr4(CR4);
    tables::fill();
    load_tables();
    wrmsr(msr::EFER, EFER);
    regs::set_cr8(0);
    let [system_call, system_call32, sysenter] = system_calls();
    for (index, value) in [
        (msr::STAR, STAR),
        (msr::LSTAR, system_call),
        (msr::CSTAR, system_call32),
        (msr::SFMASK, SFMASK),
        (msr::SYSENTER_CS, 0x08),
        (msr::SYSENTER_ESP, 0),
        (msr::SYSENTER_EIP, sysenter),
        (msr::FS_BASE, 0),
        (msr::GS_BASE, 0),
        (msr::KERNEL_GS_BASE, 0),
    ] {
        wrmsr(index, value);
    }
    quiet();
    serial::initialise();
}

/// Loads the tables and every segment register.
pub fn load_tables() {
    let pointers = [tables::pointer(Table::Gdt), tables::pointer(Table::Idt)];
    tables::make_task_available();
    // SAFETY: the tables are good ones. CS is exchanged by a far return to the next instruction.
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
            "lldt {scratch:x}",
            "mov {scratch:e}, {task}",
            "ltr {scratch:x}",
            gdt = in(reg) &raw const pointers[0],
            idt = in(reg) &raw const pointers[1],
            scratch = out(reg) _,
            code = const tables::KERNEL_CODE,
            stack = const tables::KERNEL_STACK,
            task = const tables::TASK,
        );
    }
}

/// The interrupt controllers begin anew with everything masked, and the timer has nothing to count.
pub fn quiet() {
    for (first, vector, wired) in [(0x20, FIRST_IRQ, 4), (0xa0, FIRST_IRQ + 8, 2)] {
        out(first, 0x11);
        out(first + 1, vector);
        out(first + 1, wired);
        out(first + 1, 1);
        out(first + 1, 0xff);
    }
    // Mode 0 without a count does not end.
    out(0x43, 0x30);
}

/// Lets the timer's interrupt through, and has it come once after so many counts.
pub fn start_timer(counts: u16) {
    out(0x21, 0xfe);
    out(0x43, 0x30);
    out(0x40, counts as u8);
    out(0x40, (counts >> 8) as u8);
}

/// Lets the timer's interrupt through, and has it come every so many counts.
pub fn start_ticks(counts: u16) {
    out(0x21, 0xfe);
    out(0x43, 0x34);
    out(0x40, counts as u8);
    out(0x40, (counts >> 8) as u8);
}

/// Ends the interrupt in service.
pub fn end_interrupt() {
    out(0x20, 0x20);
}
