//! Descriptors and selectors: everything the processor would use without asking the hypervisor.

use paravane_abi::hypercall as nr;
use paravane_abi::mmu::MMUEXT_SET_LDT;
use paravane_abi::vcpu::SEGBASE_GS_USER_SEL;

use super::subject::{self, BREAKPOINT};
use super::{Report, Row};
use crate::guard;
use crate::hypercall::{map, mmuext, raw};
use crate::memory::{KERNEL, NX, PAGE, READ, WINDOW, fill, peek, take};
use crate::ring::{self, Half};

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
        name: "local-table-checked",
        reason: "descriptors in a page that nobody has checked, in a table that goes on behind it, or that change after the check",
        run: local_table_checked,
    },
    Row {
        name: "null-stack-selector",
        reason: "a null SS is allowed in ring 1 and pushed as it is: the hypervisor's iretq to it may fault",
        run: null_stack,
    },
    Row {
        name: "iretq-all-selectors",
        reason: "the kernel's own iretq with any CS and SS",
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
                let wanted = if descriptor >> 45 & 3 == 3 || ring::is_3() { BREAKPOINT } else { 13 };
                report.check(format_args!("mov {modrm:#x}: vector {:#x}", end.vector), end.vector == wanted);
            }
            report.refused("making the page writable", map(WINDOW, page << 12 | KERNEL));
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
                    && if ring::is_3() {
                        // Xen's rule: any code and data, all of it ring 3's.
                        shown == 3
                    } else {
                        (shown == 1 || shown == 3)
                            && (!code || shown == 1 && type_bits & 4 == 0 && after >> 53 & 3 == 1)
                    };
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
                // In ring 3 a call gate is kept for its kernel to look at, with DPL 0, so that using it is #GP; and the
                // upper half of one, which is no gate.
                let kept = ring::is_3() && (kind == 0 || kind == 0xc && after >> 45 & 3 == 0);
                report.check(
                    format_args!("{descriptor:#x} is taken: {whole} {single} {after:#x}"),
                    kept || whole < 0 && single < 0 && after == 0,
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

/// Loads a selector into a data segment register of the kernel's; the vector of its end.
fn load(selector: u64) -> u64 {
    let mut start = subject::kernel(&[0x8e, 0xd9]); // mov ds, ecx
    start.regs.rcx = selector;
    guard::run(&start).vector
}

fn local_table_checked(report: &mut Report) {
    const LDT: u64 = 4;
    const TASK: u64 = 0x0000_8900_0000_0067;
    // Data of ring 0's, not accessed; a gate into the hypervisor; a task's state; nothing.
    let words = [0, DATA & !(3 << 45) & !ACCESSED, 0x0000_ec00_e008_0000, TASK, DATA];
    let frame = take();
    fill(frame, |index| words.get(index).copied().unwrap_or(0));
    report.result("a page that can be written", map(WINDOW, frame << 12 | KERNEL | NX), 0);
    let set = |address: u64, entries: u64| mmuext(MMUEXT_SET_LDT, address, entries);
    for (address, entries) in [(WINDOW + 8, 1), (WINDOW, 8193), (0xffff_8080_0000_0000, 512), (1 << 47, 8)] {
        report.refused("a table there", set(address, entries));
    }
    // Which pages are good is seen when a descriptor of theirs is used.
    let set_here = set(WINDOW, 8192);
    report.check(format_args!("a table that can be written: {set_here}"), set_here <= 0);
    for selector in [0x0cu64, 0x14, 0x1c, 0x24, 0x1004, 0x8004, 0xfffc] {
        let vector = load(selector | LDT | 3);
        report.check(format_args!("{selector:#x} of it: vector {vector:#x}"), matches!(vector, 13 | 14));
    }
    // The same read-only: still one bad descriptor is enough to refuse the page.
    report.result("read-only", map(WINDOW, frame << 12 | READ | NX), 0);
    report.result("the table", set(WINDOW, 8192), 0);
    for selector in [0x0cu64, 0x14, 0x24] {
        let vector = load(selector | LDT | 3);
        report.check(
            format_args!("{selector:#x} of a bad page: vector {vector:#x}"),
            matches!(vector, 13 | 14),
        );
    }
    // A good page: its data is ring 3's and accessed, and it stays as it is.
    let good = take();
    fill(good, |index| if index == 1 { DATA & !(3 << 45) & !ACCESSED } else { 0 });
    report.result("read-only", map(WINDOW + PAGE, good << 12 | READ | NX), 0);
    report.result("the table", set(WINDOW + PAGE, 512), 0);
    let vector = load(0x0c | LDT | 3);
    report.check(format_args!("data of a good page: vector {vector:#x}"), vector == BREAKPOINT);
    report.check(format_args!("it became {:#x}", peek(good, 1)), peek(good, 1) == DATA);
    for selector in [0x14u64, 0x1004, 0xfffc] {
        let vector = load(selector | LDT | 3);
        report.check(format_args!("{selector:#x} beside it: vector {vector:#x}"), matches!(vector, 13 | 14));
    }
    report.refused("making the page writable", map(WINDOW + PAGE, good << 12 | KERNEL | NX));
    // SAFETY: a null selector.
    unsafe { core::arch::asm!("mov ds, {0:e}", in(reg) 0) };
    report.result("no table", set(0, 0), 0);
    report.check(format_args!("afterwards: {:#x}", load(0x0c | LDT | 3)), load(0x0c | LDT | 3) == 13);
    report.result("unmapping", map(WINDOW, 0), 0);
    report.result("unmapping", map(WINDOW + PAGE, 0), 0);
    report.result("it is free", map(WINDOW, good << 12 | KERNEL), 0);
    report.result("unmapping", map(WINDOW, 0), 0);
}

fn null_stack(report: &mut Report) {
    for selector in 0..4u64 {
        for code in [&[][..], &[0x0f, 0x0b], &ring::hypercall(), &[0xf4], &[0xf1], &[0x0f, 0x05]] {
            let mut start = subject::kernel(code);
            start.ss = selector;
            start.regs.rax = 17;
            let end = guard::run(&start);
            report.check(
                format_args!("SS {selector:#x}, {code:x?}: vector {:#x}", end.vector),
                end.vector < 32 || end.vector == guard::SYSCALL,
            );
            // mov ss, ax in the kernel itself, then the entry. QEMU takes a null SS in ring 1 and then runs in ring 0
            // (docs/caveats.md): there the machine would be the guest's, and the case says nothing.
            if subject::is_tcg() && !ring::is_3() {
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
        for (cs, ss) in [(selector, ring::stack().into()), (ring::code().into(), selector)] {
            let mut start = subject::kernel(&[0x48, 0xcf]); // iretq
            let target = start.rip + 0x100;
            subject::place(target, &[]);
            let stack = start.rsp;
            start.rsp -= 0x200;
            subject::write_frame(start.rsp, &[target, cs, 0x202, stack, ss]);
            let end = guard::run(&start);
            count += 1;
            report.check(
                format_args!("CS {cs:#x} SS {ss:#x}: {:#x}", end.vector),
                end.vector < 32 && end.half() != Half::Nobody,
            );
        }
    }
    report.note(format_args!("{count} frames"));
}

fn iret_selectors(report: &mut Report) {
    let mut count = 0;
    for selector in selectors() {
        let (code, stack) = (ring::shown_code(), ring::stack().into());
        for (cs, ss) in [(selector, stack), (code, selector), (selector, 0xe02b), (0xe033, selector)] {
            let target = subject::kernel_code() + 0x100;
            subject::place(target, &[]);
            let end = guard::run(&subject::iret([target, cs, 0x202, subject::kernel_stack(), ss]));
            count += 1;
            report.check(
                format_args!("CS {cs:#x} SS {ss:#x}: {:#x}", end.vector),
                end.vector < 32 && end.half() != Half::Nobody,
            );
        }
    }
    report.note(format_args!("{count} frames"));
}

fn data_selectors(report: &mut Report) {
    let page = take();
    fill(page, |index| if (1..4).contains(&index) { DATA } else { 0 });
    report.result("the table", set_gdt(page, 512), 0);
    let call = ring::hypercall();
    for selector in
        [0x0bu64, 0x13, 0x1b, 0xe02b, 0xe02a, 0xe010, 0xe013, 0xe040, 0xe071, 0xe073, 0xfffb, 0, 1, 3]
    {
        for modrm in [0xd8u8, 0xc0, 0xe0, 0xe8] {
            for mut start in [
                subject::user(&[0x8e, modrm | 1, 0x0f, 0x0b]),
                subject::kernel(&[0x8e, modrm | 1, call[0], call[1]]),
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
