//! The IDT: which vector enters where, on which stack, and from which rings by `int n`.

use paravane_core::descriptor::{Gate, HYPERVISOR_CS64, USER_CS32};

use crate::cpu::msr;
use crate::device::{apic, pic};
use crate::entry::{self, area};
use core::arch::asm;
use paravane_core::descriptor::{HYPERVISOR_DS, TSS_SELECTOR};

/// The vector of a ring-1 hypercall.
pub const VECTOR_HYPERCALL: u8 = 0x82;

/// Vectors 0xe0 to 0xff: the 8259s, the local APIC.
const FIRST_DEVICE_VECTOR: u8 = pic::VECTOR_BASE;

fn stub(first: &'static u8, number: u8) -> u64 {
    (&raw const *first) as u64 + u64::from(number) * 16
}

/// Fills the IDT. Gates have DPL 0, so that `int n` from a guest raises #GP and the guest's own trap table is
/// consulted, except #BP and #OF's (DPL 3, as Xen) and the hypercall's (DPL 1). Absent vectors stay zero.
pub fn write_idt(area: &area::EntryArea) {
    for vector in 0..32u8 {
        let (address, ist) = match vector {
            1 => (&raw const entry::debug_entry as u64, area::IST_DEBUG),
            2 => (&raw const entry::nmi_entry as u64, area::IST_NMI),
            8 => (&raw const entry::double_fault_entry as u64, area::IST_DOUBLE_FAULT),
            18 => (&raw const entry::machine_check_entry as u64, area::IST_MACHINE_CHECK),
            _ => (stub(&entry::exception_stubs, vector), 0),
        };
        let dpl = if matches!(vector, 3 | 4) { 3 } else { 0 };
        area.write_gate(vector, Gate::interrupt(address, HYPERVISOR_CS64, dpl, ist));
    }
    for vector in FIRST_DEVICE_VECTOR..=apic::VECTOR_SPURIOUS {
        let address = stub(&entry::device_stubs, vector - FIRST_DEVICE_VECTOR);
        area.write_gate(vector, Gate::interrupt(address, HYPERVISOR_CS64, 0, 0));
    }
    area.write_gate(VECTOR_HYPERCALL, hypercall_gate(true));
}

/// The gate of `int 0x82`, open to ring 1 or to nobody.
pub fn hypercall_gate(open: bool) -> Gate {
    Gate::interrupt(&raw const entry::hypercall_entry as u64, HYPERVISOR_CS64, u8::from(open), 0)
}

/// RFLAGS that `syscall` clears: TF, IF, DF, IOPL, NT, RF, VM, AC (invariant 10). VM can be set under QEMU alone
/// (`docs/caveats.md`).
const SYSCALL_MASK: u64 = 0x100 | 0x200 | 0x400 | 0x3000 | 0x4000 | 0x1_0000 | 0x2_0000 | 0x4_0000;

/// Points the fast system-call instructions at the entry area before any guest runs.
pub fn write_syscall_registers() {
    msr::write(msr::STAR, u64::from(USER_CS32) << 48 | u64::from(HYPERVISOR_CS64) << 32);
    msr::write(msr::LSTAR, &raw const entry::syscall_refused as u64);
    msr::write(msr::CSTAR, &raw const entry::syscall32_entry as u64);
    msr::write(msr::SFMASK, SYSCALL_MASK);
    msr::write(msr::SYSENTER_CS, 0);
}

/// The operand of `lgdt` and `lidt`.
#[repr(C, packed(2))]
struct TablePointer {
    limit: u16,
    base: u64,
}

/// Loads the task register, the GDT, the IDT and the segment registers: from here on they are the entry
/// area's. `writable_gdt` is [`area::EntryArea::writable_gdt`] of this processor's.
pub fn load_tables(writable_gdt: u64) {
    let writable = TablePointer { limit: area::GDT_LIMIT, base: writable_gdt };
    let gdt = TablePointer { limit: area::GDT_LIMIT, base: area::GDT };
    let idt = TablePointer { limit: 4095, base: area::IDT };
    // SAFETY: both GDT addresses show the reserved page, whose selectors are the ones loaded here; the flat
    // code segment keeps the instruction stream where it is; the area stays mapped for good.
    unsafe {
        asm!(
            "lgdt [{writable}]",
            "ltr {tss:x}",
            "lgdt [{gdt}]",
            "lidt [{idt}]",
            "push {cs}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "mov ss, {ss:e}",
            "mov ds, {null:e}",
            "mov es, {null:e}",
            "mov fs, {null:e}",
            "mov gs, {null:e}",
            "lldt {null:x}",
            writable = in(reg) &raw const writable,
            gdt = in(reg) &raw const gdt,
            idt = in(reg) &raw const idt,
            tss = in(reg) u64::from(TSS_SELECTOR),
            cs = in(reg) u64::from(HYPERVISOR_CS64),
            ss = in(reg) u64::from(HYPERVISOR_DS),
            null = in(reg) 0u64,
            scratch = out(reg) _,
        );
    }
}

/// Loads the LDT that a selector of the reserved page names, or none with the null selector.
pub fn load_ldt(selector: u16) {
    // SAFETY: the selector is null or names the LDT descriptor of this processor's reserved page, which has been
    // written and leads to the window in its entry area. Ring 0 uses no selector of an LDT.
    unsafe { asm!("lldt {:x}", in(reg) u64::from(selector), options(nostack, preserves_flags)) };
}
