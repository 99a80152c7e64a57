//! Descriptors of every kind in the GDT, and everything that loads one.

use crate::attacks::{Report, Row};
use crate::guard::{Regs, Start};
use crate::native::guard::{self, Ended};
use crate::native::memory::{self, ADDRESS, HYPERVISOR, RW, entry_of, frame, map};
use crate::native::registers::cr2;
use crate::native::state::load_tables;
use crate::native::subject::{
    self, CODE, DATA, NOTHING, PAGE_FAULT, PLAY, PROTECTION, exec, exec_user, operand, whole,
};
use crate::native::tables::{self, FREE, KERNEL_CODE, Table, physical, pointer_to, set_descriptor};
use crate::native::whole_run;

pub const ROWS: &[Row] = &[
    Row {
        name: "pc-descriptors",
        reason: "descriptors of every type, level and size, loaded in every way: one is taken over with ring 0 in it",
        run: descriptors,
    },
    Row {
        name: "pc-descriptors-changed",
        reason: "a descriptor changed between lgdt and load: the copy is another than the table",
        run: changed,
    },
    Row {
        name: "pc-table-places",
        reason: "a GDT that is unmapped, read-only, a page table, half there, at the end of the address space, or has any limit",
        run: places,
    },
    Row {
        name: "pc-all-selectors",
        reason: "iretq to every selector: the hypervisor's own are in the real table",
        run: all_selectors,
    },
    Row {
        name: "pc-far-transfers",
        reason: "far jumps, calls and returns to every kind of selector and address",
        run: far,
    },
    Row {
        name: "pc-local-table",
        reason: "lldt of every kind of descriptor, selectors of tables that lie nowhere",
        run: local,
    },
    Row {
        name: "pc-looked-at",
        reason: "lar, lsl, verr, verw of every selector: they must not fault, whatever the table",
        run: looked_at,
    },
];

/// The kernel returns to a code selector of the place, to the end of its code.
fn returns(cs: u64, ss: u64) -> Ended {
    let start = subject::kernel(&[]);
    guard::run(&Start { cs, ss, ..start })
}

/// Every way to load the selector in RSI, but into SS with a null selector, which under QEMU is ring 0.
const LOADS: [&[u8]; 6] = [
    &[0x8e, 0xde],
    &[0x8e, 0xc6],
    &[0x8e, 0xe6],
    &[0x8e, 0xee],
    &[0x8e, 0xd6],
    // push rsi; push rdi; retfq
    &[0x56, 0x57, 0x48, 0xcb],
];

fn descriptors(report: &mut Report) {
    const PLACE: u64 = FREE as u64;
    let known = [6, 10, 11, 12, 13, 14];
    // Sampled, all types and levels are there.
    let step = if whole_run() { 1 } else { 5 };
    for access in (0..256_u64).step_by(step) {
        // L and D/B; limits and bases that do and do not matter.
        for upper in
            [0x00af_0000_0000_ffff_u64, 0x00cf_0000_0000_ffff, 0x000f_0000_0000_ffff, 0xffef_00ff_ffff_ffff]
        {
            set_descriptor(FREE, upper & !(0xff << 40) | access << 40);
            let rpl = PLACE | access >> 5 & 3;
            for code in LOADS {
                let ended = exec(code, Regs { rsi: rpl, rdi: CODE + 32, ..Regs::default() });
                report.check(
                    format_args!("{access:#x} {upper:#x} by {code:x?}: {ended:x?}"),
                    known.contains(&ended.vector),
                );
            }
            for (cs, ss) in [(rpl, 0x10), (rpl | 3, 0x1b), (KERNEL_CODE.into(), rpl), (0x23, rpl | 3)] {
                let ended = returns(cs, ss);
                report.check(
                    format_args!("{access:#x} {upper:#x} {cs:#x}: {ended:x?}"),
                    known.contains(&ended.vector),
                );
            }
            if access & 0x18 == 0x10 {
                let ended = exec_user(LOADS[0], Regs { rsi: PLACE | 3, ..Regs::default() });
                report.check(format_args!("{access:#x}, program: {ended:x?}"), known.contains(&ended.vector));
            }
        }
    }
}

fn changed(report: &mut Report) {
    const PLACE: u64 = FREE as u64;
    const DATA_SEGMENT: u64 = 0x00cf_9300_0000_ffff;
    for _ in 0..5 {
        set_descriptor(FREE, 0);
        let ended = exec(LOADS[0], Regs { rsi: PLACE, ..Regs::default() });
        // Nobody hears of what was taken away before a load faults, so only what was added is sure.
        report.check(format_args!("not there: {ended:x?}"), [6, PROTECTION].contains(&ended.vector));
        set_descriptor(FREE, DATA_SEGMENT);
        let ended = exec(LOADS[0], Regs { rsi: PLACE, ..Regs::default() });
        report.check(format_args!("there again: {ended:x?}"), ended.vector == 6);
        load_tables();
        set_descriptor(FREE, DATA_SEGMENT | 3 << 45);
        let ended = exec(LOADS[0], Regs { rsi: PLACE | 3, ..Regs::default() });
        report.check(format_args!("another level: {ended:x?}"), ended.vector == 6);
    }
    // Its own code segment is taken away while it runs, and is there again before anything is delivered by it.
    // mov [rdi], rbx; mov rax, cr0; cli; mov [rdi], rcx
    let code = [0x48, 0x89, 0x1f, 0x0f, 0x20, 0xc0, 0xfa, 0x48, 0x89, 0x0f];
    let rdi = tables::address(Table::Gdt) + u64::from(KERNEL_CODE);
    let ended = exec(&code, Regs { rdi, rcx: 0x00af_9b00_0000_ffff, ..Regs::default() });
    report.check(format_args!("without its code segment: {ended:x?}"), whole(&ended, &code));
}

fn places(report: &mut Report) {
    let copy = frame();
    let from = physical(Table::Gdt);
    (0..512).for_each(|word| memory::write(copy + word * 8, memory::read(from + word * 8)));
    // lgdt [rdi]; mov ds, si
    let code = [0x0f, 0x01, 0x17, 0x8e, 0xde];
    let load = |base, limit, rsi| exec(&code, Regs { rsi, ..operand(&pointer_to(base, limit)) });
    for flags in [1, RW, 5] {
        map(PLAY, copy | flags);
        let ended = load(PLAY, 0xfff, 0x10);
        report.check(format_args!("flags {flags}: {ended:x?}"), whole(&ended, &code));
        load_tables();
    }
    for limit in [0xffff, 0x17, 0x3f] {
        map(PLAY, copy | RW);
        let ended = load(PLAY, limit, 0x10);
        report.check(format_args!("limit {limit:#x}: {ended:x?}"), whole(&ended, &code));
        let ended = exec(LOADS[0], Regs { rsi: 0x18, ..Regs::default() });
        let good = if limit == 0x17 { ended.vector == PROTECTION } else { ended.vector == 6 };
        report.check(format_args!("behind the limit {limit:#x}: {ended:x?}"), good);
        load_tables();
    }
    for base in [1 << 47, 1 << 63, 0xffff_7fff_ffff_ffff] {
        let ended = load(base, 0xffff, 0x10);
        report.check(
            format_args!("base {base:#x}: {ended:x?}"),
            ended.vector == PROTECTION && ended.rip == CODE,
        );
        load_tables();
    }
    // The first page of two: the kernel's segments are there, what is loaded is not.
    map(PLAY + 0x1000, 0);
    (0..8).for_each(|word| memory::write(copy + 0xfc0 + word * 8, memory::read(from + word * 8)));
    let ended = load(PLAY + 0xfc0, 0xffff, 0x48);
    let good = ended.vector == PAGE_FAULT && cr2() == PLAY + 0x1008;
    report.check(format_args!("half a table: {ended:x?}"), good);
    load_tables();
    // A page table in use, which lists the segments.
    let l1 = entry_of(PLAY) & ADDRESS;
    (0..8).for_each(|word| memory::write(l1 + 0x800 + word * 8, memory::read(from + word * 8)));
    map(PLAY, l1 | RW);
    let ended = load(PLAY + 0x800, 0x3f, 0x10);
    report.check(format_args!("in a page table: {ended:x?}"), whole(&ended, &code));
    load_tables();
    (0..8).for_each(|word| memory::write(l1 + 0x800 + word * 8, 0));
    // Tables that are not there are loaded, and used before anything else is: back by the second operand.
    for base in [NOTHING, 0, u64::MAX - 7, HYPERVISOR, HYPERVISOR | 0x8000_0000, 0x7fff_ffff_fff0] {
        let mut both = [0; 26];
        both[..10].copy_from_slice(&pointer_to(base, 0xffff));
        both[16..].copy_from_slice(&tables::pointer(Table::Gdt));
        let code = [0x0f, 0x01, 0x17, 0x0f, 0x20, 0xc0, 0x0f, 0x01, 0x16];
        let ended = exec(&code, Regs { rsi: DATA + 16, ..operand(&both) });
        report.check(format_args!("nothing at {base:#x}: {ended:x?}"), whole(&ended, &code));
        load_tables();
    }
}

fn all_selectors(report: &mut Report) {
    let known = [6, 11, 12, 13, 14];
    let step = if whole_run() { 1 } else { 37 };
    for selector in (0..0x1_0000_u64).step_by(step).chain(0xe000..0xe080) {
        let ended = returns(selector, if selector & 3 == 3 { 0x1b } else { 0x10 });
        report.check(format_args!("CS {selector:#x}: {ended:x?}"), known.contains(&ended.vector));
        // Under QEMU a null SS in a frame of ring 0's is fine.
        let ended = returns(if selector & 3 == 3 { 0x23 } else { 8 }, selector);
        report.check(format_args!("SS {selector:#x}: {ended:x?}"), known.contains(&ended.vector));
    }
}

fn far(report: &mut Report) {
    let known = [6, 11, 12, 13, 14];
    set_descriptor(FREE, 0x00af_9f00_0000_ffff);
    for (word, raw) in tables::system(CODE, 0, 0x8c).into_iter().enumerate() {
        set_descriptor(FREE + 16 + word as u16 * 8, raw | 0x08 << 16);
    }
    // jmp and call m16:64, jmp m16:32, call m16:16, lfs and lgs of 64 and 32 bits, call m16:32.
    const WAYS: [&[u8]; 8] = [
        &[0x48, 0xff, 0x2f],
        &[0x48, 0xff, 0x1f],
        &[0xff, 0x2f],
        &[0x66, 0xff, 0x1f],
        &[0x48, 0x0f, 0xb4, 0x07],
        &[0x48, 0x0f, 0xb5, 0x07],
        &[0x0f, 0xb4, 0x07],
        &[0xff, 0x1f],
    ];
    const SELECTORS: [u16; 14] =
        [8, 9, 0x0b, 0, 3, 0x10, 0x1b, 0x23, 0x28, 0x3b, FREE, FREE + 16, 0xe008, 0xe069];
    for selector in SELECTORS {
        for target in [CODE + 32, NOTHING, 1 << 47, HYPERVISOR, 0, u64::MAX] {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&target.to_le_bytes());
            bytes[8..10].copy_from_slice(&selector.to_le_bytes());
            // The narrow forms find their selector inside.
            for narrow in [None, Some(4), Some(2)] {
                if let Some(at) = narrow {
                    bytes[at..at + 2].copy_from_slice(&selector.to_le_bytes());
                }
                let regs = operand(&bytes);
                for code in WAYS {
                    let ended = exec(code, regs);
                    report.check(
                        format_args!("{code:x?} {selector:#x} {target:#x}: {ended:x?}"),
                        known.contains(&ended.vector),
                    );
                }
            }
            for code in
                [&[0x48, 0xcb][..], &[0xcb], &[0x66, 0xcb], &[0x48, 0xca, 0x10, 0], &[0xcf], &[0x66, 0xcf]]
            {
                let start = subject::kernel(code);
                let ended = guard::run(&Start { rsp: DATA, ..start });
                report.check(
                    format_args!("{code:x?} {selector:#x} {target:#x}: {ended:x?}"),
                    known.contains(&ended.vector),
                );
            }
        }
    }
}

fn local(report: &mut Report) {
    let table = memory::frame();
    map(PLAY, table | RW);
    memory::write(table + 8, 0x00cf_9300_0000_ffff);
    let load = |base: u64, limit: u64, access: u8| {
        for (word, raw) in tables::system(base, limit, access).into_iter().enumerate() {
            set_descriptor(FREE + word as u16 * 8, raw);
        }
        // lldt di; mov fs, si
        exec(&[0x0f, 0x00, 0xd7, 0x8e, 0xe6], Regs { rdi: FREE.into(), rsi: 0x0c, ..Regs::default() })
    };
    for access in 0..=255 {
        let ended = load(PLAY, 0xfff, access);
        let good = match (access & 0x1f, access & 0x80) {
            (2, 0x80) => ended.vector == 6,
            (2, _) => (ended.vector, ended.error) == (11, FREE.into()),
            _ => (ended.vector, ended.error) == (PROTECTION, FREE.into()),
        };
        report.check(format_args!("lldt of {access:#x}: {ended:x?}"), good);
    }
    for (base, limit, vector) in
        [(NOTHING, 0xfff, 14), (PLAY, 7, 13), (HYPERVISOR, 0xffff, 14), (1 << 47, 0xfff, 13), (PLAY, 0xf, 6)]
    {
        let ended = load(base, limit, 0x82);
        report.check(format_args!("a table at {base:#x}: {ended:x?}"), ended.vector == vector);
    }
}

fn looked_at(report: &mut Report) {
    // lar eax, esi; lsl eax, esi; verr si; verw si
    let code = [0x0f, 0x02, 0xc6, 0x0f, 0x03, 0xc6, 0x0f, 0x00, 0xe6, 0x0f, 0x00, 0xee];
    let step = if whole_run() { 1 } else { 37 };
    for selector in (0..0x1_0000).step_by(step).chain(0xe000..0xe080) {
        let regs = Regs { rsi: selector, ..Regs::default() };
        let ended = if selector & 8 == 0 { exec(&code, regs) } else { exec_user(&code, regs) };
        report.check(format_args!("{selector:#x}: {ended:x?}"), whole(&ended, &code));
    }
}
