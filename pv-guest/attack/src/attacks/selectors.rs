//! Descriptors and selectors: everything the processor would use without asking the hypervisor.

use paravane_abi::hypercall as nr;
use paravane_abi::mmu::MMUEXT_SET_LDT;
use paravane_abi::vcpu::SEGBASE_GS_USER_SEL;

use super::subject::{self, BREAKPOINT};
use super::{Report, Row};
use crate::guard;
use crate::hypercall::{mmuext, raw};
use crate::memory::{KERNEL, WINDOW, fill, peek, take};

/// A flat data segment for ring 3, accessed.
const DATA: u64 = 0x00cf_f300_0000_ffff;
const ACCESSED: u64 = 1 << 40;

/// See the module.
pub const ROWS: &[Row] = &[
    Row {
        name: "accessed-bit-clear",
        reason: "the processor writes the accessed bit of a descriptor it loads: into a page that is read-only, from ring 0's own load",
        run: accessed_clear,
    },
    Row {
        name: "dpl",
        reason: "a descriptor of DPL 0 is ring 0; one of DPL 2 is a ring that nobody checks",
        run: levels,
    },
    Row {
        name: "gates-and-system-descriptors",
        reason: "a call gate leads inward, a task state has stacks, a local table is one more table to watch",
        run: system,
    },
    Row {
        name: "local-table",
        reason: "an LDT would hold descriptors that nobody has checked",
        run: local_table,
    },
    Row {
        name: "null-stack-selector",
        reason: "a null SS is allowed in ring 1 and pushed as it is: the hypervisor's iretq to it may fault",
        run: null_stack,
    },
    Row {
        name: "iretq-all-selectors",
        reason: "ring 1's own iretq with any CS and SS",
        run: iretq_selectors,
    },
    Row {
        name: "iret-all-selectors",
        reason: "the hypervisor's iretq, by hypercall, with any CS and SS: its fault is ring 0's",
        run: iret_selectors,
    },
    Row {
        name: "data-selectors",
        reason: "DS, ES, FS and GS hold whatever the guest loads when the hypervisor is entered, and are saved and loaded by it",
        run: data_selectors,
    },
];

fn set_gdt(frame: u64, entries: u64) -> i64 {
    raw(nr::HYPERVISOR_SET_GDT, [&raw const frame as u64, entries, 0, 0, 0])
}

/// Offers one descriptor in both ways; the results, and what stands in the page afterwards.
fn offer(descriptor: u64) -> (i64, i64, u64) {
    let page = take();
    fill(page, |index| if index == 1 { descriptor } else { 0 });
    let whole = set_gdt(page, 512);
    if whole == 0 {
        raw(nr::HYPERVISOR_SET_GDT, [0; 5]);
    }
    let empty = take();
    let held = set_gdt(empty, 512);
    let single = raw(nr::HYPERVISOR_UPDATE_DESCRIPTOR, [empty << 12 | 8, descriptor, 0, 0, 0]);
    let after = peek(empty, 1);
    raw(nr::HYPERVISOR_SET_GDT, [0; 5]);
    (if held == 0 { whole } else { held }, single, after)
}

fn accessed_clear(report: &mut Report) {
    for descriptor in [DATA & !ACCESSED, 0x00cf_b300_0000_ffff & !ACCESSED] {
        let page = take();
        fill(page, |index| if index == 1 { descriptor } else { 0 });
        let result = set_gdt(page, 512);
        if result == 0 {
            report.check(format_args!("the bit is {:#x}", peek(page, 1)), peek(page, 1) & ACCESSED != 0);
            // The hypervisor's own load, then ring 3's.
            report.result(
                "GS",
                raw(nr::HYPERVISOR_SET_SEGMENT_BASE, [SEGBASE_GS_USER_SEL.into(), 0x0b, 0, 0, 0]),
                0,
            );
            for modrm in [0xd8u8, 0xc0, 0xe0, 0xe8] {
                let mut start = subject::user(&[0x8e, modrm]); // mov ds/es/fs/gs, ax
                start.regs.rax = 0x0b;
                let end = guard::run(&start);
                let wanted = if descriptor >> 45 & 3 == 3 { BREAKPOINT } else { 13 };
                report.check(format_args!("mov {modrm:#x}: vector {:#x}", end.vector), end.vector == wanted);
            }
            report.refused("making the page writable", crate::hypercall::map(WINDOW, page << 12 | KERNEL));
        }
        raw(nr::HYPERVISOR_SET_SEGMENT_BASE, [SEGBASE_GS_USER_SEL.into(), 0, 0, 0, 0]);
        // SAFETY: null selectors.
        unsafe { core::arch::asm!("mov ds, {0:e}", "mov es, {0:e}", "mov fs, {0:e}", in(reg) 0) };
        report.result("no table", raw(nr::HYPERVISOR_SET_GDT, [0; 5]), 0);
    }
}

fn levels(report: &mut Report) {
    for dpl in 0..4u64 {
        // Code and data; readable and not, conforming and not, 64-bit, 32-bit, both and neither.
        for kind in 0x10..0x20u64 {
            for size in
                [0x00cf_0000_0000_ffff, 0x00af_0000_0000_ffff, 0x00ef_0000_0000_ffff, 0x008f_0000_0000_ffff]
            {
                let descriptor = size | (0x80 | dpl << 5 | kind) << 40;
                let (whole, single, after) = offer(descriptor);
                report.check(
                    format_args!("{descriptor:#x} is taken in one way alone: {whole} {single}"),
                    (whole < 0) == (single < 0),
                );
                // What DPL was asked for is no matter: what stands there afterwards is what the processor loads.
                let (shown, type_bits) = (after >> 45 & 3, after >> 40 & 0xf);
                let code = type_bits & 8 != 0;
                let good = after & ACCESSED != 0
                    && (shown == 1 || shown == 3)
                    && (!code || shown == 1 && type_bits & 4 == 0 && after >> 53 & 3 == 1);
                report.check(format_args!("{descriptor:#x} became {after:#x}"), after == 0 || good);
            }
        }
    }
}

fn system(report: &mut Report) {
    for dpl in 0..4u64 {
        for kind in 0..0x10u64 {
            for base in [0u64, 0xffff_8080_0001_1000] {
                let low = (base & 0xff_ffff) << 16 | (base >> 24 & 0xff) << 56 | 0xffff;
                let descriptor = low | (0x80 | dpl << 5 | kind) << 40;
                let (whole, single, after) = offer(descriptor);
                report.check(
                    format_args!("{descriptor:#x} is taken: {whole} {single} {after:#x}"),
                    whole < 0 && single < 0 && after == 0,
                );
            }
        }
    }
}

fn local_table(report: &mut Report) {
    for (address, entries) in
        [(WINDOW, 1), (WINDOW, 8192), (WINDOW + 8, 1), (WINDOW, 8193), (0xffff_8080_0000_0000, 512)]
    {
        report.refused("an LDT", mmuext(MMUEXT_SET_LDT, address, entries));
    }
    report.result("no LDT", mmuext(MMUEXT_SET_LDT, 0, 0), 0);
    for start in [subject::kernel(&[0x0f, 0x00, 0xd0]), subject::user(&[0x0f, 0x00, 0xd0])] {
        let mut start = start;
        start.regs.rax = 8;
        let end = guard::run(&start);
        report.check(format_args!("lldt: vector {:#x}", end.vector), end.vector == 13);
    }
    for modrm in [0xd8u8, 0xc0, 0xe0, 0xe8, 0xd0] {
        for selector in [4u64, 7, 0xfffc, 0xffff] {
            let mut start = subject::user(&[0x8e, modrm]);
            start.regs.rax = selector;
            let end = guard::run(&start);
            report.check(format_args!("selector {selector:#x}: vector {:#x}", end.vector), end.vector == 13);
        }
    }
}

fn null_stack(report: &mut Report) {
    for selector in 0..4u64 {
        for code in [&[][..], &[0x0f, 0x0b], &[0xcd, 0x82], &[0xf4], &[0xf1], &[0x0f, 0x05]] {
            let mut start = subject::kernel(code);
            start.ss = selector;
            start.regs.rax = 17;
            let end = guard::run(&start);
            report.check(
                format_args!("SS {selector:#x}, {code:x?}: vector {:#x}", end.vector),
                end.vector < 32 || end.vector == guard::SYSCALL,
            );
            // mov ss, ax in ring 1 itself, then the entry. QEMU takes a null SS in ring 1 and then runs in ring 0
            // (docs/caveats.md): there the machine would be the guest's, and the case says nothing.
            if subject::is_tcg() {
                continue;
            }
            let mut bytes = [0x90; 8];
            bytes[..2].copy_from_slice(&[0x8e, 0xd0]);
            bytes[2..2 + code.len()].copy_from_slice(code);
            let mut start = subject::kernel(&bytes);
            start.regs.rax = selector;
            let end = guard::run(&start);
            report.check(
                format_args!("mov ss {selector:#x}, {code:x?}: vector {:#x}", end.vector),
                end.vector < 32 || end.vector == guard::SYSCALL,
            );
        }
    }
}

/// Every selector of the hypervisor's page's beginning with every RPL, and a sample of all others.
fn selectors() -> impl Iterator<Item = u64> {
    (0xe000..0xe100u64).chain((0..0x1_0000u64).step_by(0x2f1)).chain([4, 7, 0xdfff, 0xefff, 0xffff])
}

fn iretq_selectors(report: &mut Report) {
    let mut count = 0;
    for selector in selectors() {
        let mut starts = [subject::kernel(&[]), subject::kernel(&[])];
        starts[0].cs = selector;
        starts[1].ss = selector;
        for start in starts {
            let end = guard::run(&start);
            count += 1;
            report.check(
                format_args!("CS {:#x} SS {:#x}: {:#x}", start.cs, start.ss, end.vector),
                end.vector < 32 && end.ring() != 0,
            );
        }
    }
    report.note(format_args!("{count} frames"));
}

fn iret_selectors(report: &mut Report) {
    let mut count = 0;
    for selector in selectors() {
        for (cs, ss) in [(selector, 0xe071), (0xe069, selector), (selector, 0xe02b), (0xe033, selector)] {
            let mut start = subject::kernel(&[0xcd, 0x82]);
            let target = start.rip + 0x100;
            subject::place(target, &[]);
            let stack = start.rsp;
            start.rsp -= 0x200;
            for (index, word) in [0, 0, 0, 0, target, cs, 0x202, stack, ss].into_iter().enumerate() {
                // SAFETY: the subject's stack.
                unsafe { (start.rsp as *mut u64).add(index).write_volatile(word) };
            }
            start.regs.rax = 23;
            let end = guard::run(&start);
            count += 1;
            report.check(
                format_args!("CS {cs:#x} SS {ss:#x}: {:#x}", end.vector),
                end.vector < 32 && end.ring() != 0,
            );
        }
    }
    report.note(format_args!("{count} frames"));
}

fn data_selectors(report: &mut Report) {
    let page = take();
    fill(page, |index| if (1..4).contains(&index) { DATA } else { 0 });
    report.result("the table", set_gdt(page, 512), 0);
    for selector in
        [0x0bu64, 0x13, 0x1b, 0xe02b, 0xe02a, 0xe010, 0xe013, 0xe040, 0xe071, 0xe073, 0xfffb, 0, 1, 3]
    {
        for modrm in [0xd8u8, 0xc0, 0xe0, 0xe8] {
            for mut start in [
                subject::user(&[0x8e, modrm | 1, 0x0f, 0x0b]),
                subject::kernel(&[0x8e, modrm | 1, 0xcd, 0x82]),
            ] {
                // mov SEGMENT, cx; RAX is the number of a call that does nothing.
                start.regs.rcx = selector;
                start.regs.rax = 17;
                let end = guard::run(&start);
                report.check(
                    format_args!("{selector:#x} in {modrm:#x}: vector {:#x}", end.vector),
                    matches!(end.vector, 3 | 6 | 11 | 13),
                );
            }
        }
        let result = raw(nr::HYPERVISOR_SET_SEGMENT_BASE, [SEGBASE_GS_USER_SEL.into(), selector, 0, 0, 0]);
        report.check(format_args!("GS {selector:#x}: {result}"), result <= 0);
    }
    // The table goes while selectors of it are loaded; the next load of a segment must not be ring 0's fault.
    report.result("no table", raw(nr::HYPERVISOR_SET_GDT, [0; 5]), 0);
    report.check(format_args!("the null call"), crate::hypercall::null() > 0);
    let end = subject::run_user(&[0x0f, 0x0b]);
    report.check(format_args!("an exception: {:#x}", end.vector), end.vector == 6);
}
