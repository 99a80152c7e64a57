//! Page tables that no kernel writes.

use pv_attack_logic::random::Random;

use crate::attacks::{Report, Row};
use crate::guard::Regs;
use crate::native::memory::{
    self, ADDRESS, NX, PS, RW, SLOT, US, WINDOW, entry_of, frame, map, read, slot, write,
};
use crate::native::registers::{cr2, set_cr3};
use crate::native::subject::{DATA, PAGE_FAULT, PLAY, PROTECTION, USER_PLAY, exec, exec_user, whole};

pub const ROWS: &[Row] = &[
    Row {
        name: "pc-tables-nowhere",
        reason: "entries of every level that lead beyond memory, to devices, to nothing: a walk of the hypervisor's follows them",
        run: nowhere,
    },
    Row {
        name: "pc-reserved-bits",
        reason: "every bit of an entry at every level: a shadow that takes one over names a frame that is not the guest's",
        run: reserved_bits,
    },
    Row {
        name: "pc-root-maps-itself",
        reason: "a root that is a table of every level, written through itself",
        run: itself,
    },
    Row {
        name: "pc-root-garbage",
        reason: "a root of random entries but for the kernel's own: each slot is touched",
        run: garbage,
    },
    Row {
        name: "pc-hypervisor-slots",
        reason: "entries for the hypervisor's addresses: the kernel's page in place of entry code",
        run: hypervisor_slots,
    },
    Row {
        name: "pc-large-pages",
        reason: "large pages that lie askew, beyond memory, or over page tables",
        run: large,
    },
    Row {
        name: "pc-own-translation",
        reason: "an instruction that takes away the page it lies in, and one that takes away its operand",
        run: own_translation,
    },
    Row {
        name: "pc-half-in-table",
        reason: "writes that lie half in a page table: emulated as the whole they would change what is not theirs",
        run: half_in_table,
    },
    Row {
        name: "pc-code-in-table",
        reason: "a page that is code and page table: each write to it changes both",
        run: code_in_table,
    },
    Row {
        name: "pc-table-of-all-levels",
        reason: "a frame that is L1, L2 and L3 at the same time, written while it is",
        run: all_levels,
    },
];

/// What reads a word, what writes one, and what fetches an instruction at RDI.
const TOUCH: [&[u8]; 3] = [&[0x48, 0x8b, 0x07], &[0x48, 0x89, 0x07], &[0xff, 0xd7]];
/// Writes RAX at RDI, forgets the translation of RSI.
const WRITE_AND_FORGET: [u8; 6] = [0x48, 0x89, 0x07, 0x0f, 0x01, 0x3e];

fn at(rdi: u64) -> Regs {
    Regs { rdi, ..Regs::default() }
}

/// Reads and writes at an address as the kernel, and reads as a program; every touch must end in some way that a processor
/// knows.
fn touch(report: &mut Report, what: &str, va: u64) {
    for code in &TOUCH[..2] {
        let ended = exec(code, at(va));
        let known = [6, PROTECTION, PAGE_FAULT].contains(&ended.vector);
        report.check(format_args!("{what}: the kernel at {va:#x}: {ended:x?}"), known);
    }
    let ended = exec_user(TOUCH[0], at(va));
    let known = [6, PROTECTION, PAGE_FAULT].contains(&ended.vector);
    report.check(format_args!("{what}: a program at {va:#x}: {ended:x?}"), known);
}

/// A root with tables of its own below an address, by level: 1 to 4.
fn own_tables(va: u64) -> [u64; 5] {
    let mut tables = [0, 0, 0, 0, memory::copy_of_root()];
    for level in [4, 3, 2] {
        tables[level - 1] = frame();
        write(tables[level] + slot(va, level as u32) * 8, tables[level - 1] | RW | US);
    }
    tables
}

/// An address of nobody's.
const FREE: u64 = 5 * SLOT;

/// Addresses at which no memory is, or no table, or a device.
fn places() -> [u64; 12] {
    [
        memory::end(),
        memory::end() + 0x20_0000,
        0xa_0000,
        0xb_8000,
        0xf_f000,
        0xfee0_0000,
        0xfec0_0000,
        0xffff_f000,
        1 << 32,
        1 << 38,
        (1 << 40) - 0x1000,
        0,
    ]
}

fn nowhere(report: &mut Report) {
    for level in 1..=4 {
        let tables = own_tables(FREE);
        write(tables[1] + slot(FREE, 1) * 8, frame() | RW | US);
        for place in places() {
            write(tables[level] + slot(FREE, level as u32) * 8, place | RW | US);
            set_cr3(tables[4]);
            touch(report, "an entry to nowhere", FREE);
        }
        set_cr3(memory::root());
    }
}

fn reserved_bits(report: &mut Report) {
    for level in 1..=4 {
        let tables = own_tables(FREE);
        write(tables[1] + slot(FREE, 1) * 8, frame() | RW | US);
        let place = tables[level] + slot(FREE, level as u32) * 8;
        let good = read(place);
        for bit in 0..64 {
            write(place, good ^ 1 << bit);
            set_cr3(tables[4]);
            let ended = exec(TOUCH[0], at(FREE));
            let refused = (ended.vector, ended.error, cr2()) == (PAGE_FAULT, 9, FREE);
            if (40..52).contains(&bit) {
                report.check(format_args!("bit {bit} at level {level}: {ended:x?}"), refused);
            }
            exec_user(TOUCH[0], at(FREE));
        }
        set_cr3(memory::root());
    }
}

fn itself(report: &mut Report) {
    for index in [0, 5, 255, 300, 511] {
        let root = memory::copy_of_root();
        write(root + index * 8, root | RW | US);
        set_cr3(root);
        let sign = if index > 255 { 0xffff << 48 } else { 0 };
        // Through so many levels of itself.
        let deep = |depth: u32| (0..depth).fold(sign, |va, level| va | index << (39 - 9 * level));
        (1..=4).for_each(|depth| touch_read(report, deep(depth)));
        let va = deep(4) | (index * 8);
        let ended = exec(TOUCH[0], at(va));
        let seen = whole(&ended, TOUCH[0]) && ended.regs.rax & ADDRESS == root;
        report.check(format_args!("the root at {va:#x} shows itself: {ended:x?}"), seen);
        // It takes itself out: the next use must fault.
        let code = [&WRITE_AND_FORGET[..], TOUCH[0]].concat_into::<9>();
        let ended = exec(&code, Regs { rdi: va, rsi: va, ..Regs::default() });
        report.check(
            format_args!("the root is used after it was taken: {ended:x?}"),
            ended.vector == PAGE_FAULT,
        );
        set_cr3(memory::root());
    }
}

/// Reads at an address: it must end in some way that a processor knows.
fn touch_read(report: &mut Report, va: u64) {
    let ended = exec(TOUCH[0], at(va));
    report.check(format_args!("a read at {va:#x}: {ended:x?}"), [6, 13, 14].contains(&ended.vector));
}

/// Joins two pieces of code.
trait Join {
    fn concat_into<const N: usize>(self) -> [u8; N];
}

impl Join for [&[u8]; 2] {
    fn concat_into<const N: usize>(self) -> [u8; N] {
        let mut all = [0x90; N];
        let bytes = self.into_iter().flatten();
        all.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        all
    }
}

fn garbage(report: &mut Report) {
    let mut random = Random::new(0x9c);
    let root = memory::copy_of_root();
    for index in 0..512 {
        let own = read(root + index * 8) != 0;
        // Nothing that leads to memory of the core's: it would be written.
        let value = random.next() & !ADDRESS | (memory::end() + (random.below(1 << 26) << 12)) & ADDRESS | 1;
        if !own {
            write(root + index * 8, value);
        }
    }
    set_cr3(root);
    for index in 0..512 {
        let sign = if index > 255 { 0xffff << 48 } else { 0 };
        let ended = exec(TOUCH[(index % 2) as usize], at(sign | index << 39 | 0x1234_5000));
        let known = [6, PROTECTION, PAGE_FAULT].contains(&ended.vector);
        report.check(format_args!("slot {index}: {ended:x?}"), known);
    }
}

fn hypervisor_slots(report: &mut Report) {
    let tables = own_tables(FREE);
    let leaf = frame();
    (0..512).for_each(|index| write(tables[1] + index * 8, leaf | RW));
    for index in 256..272 {
        write(tables[4] + index * 8, tables[3] | RW);
    }
    set_cr3(tables[4]);
    for index in 256..272 {
        for offset in [slot(FREE, 3) << 30, 0x4000, 0x8000_0000, 0x7f_ffff_f000] {
            let regs = at(0xffff << 48 | index << 39 | offset);
            for code in TOUCH {
                let ended = exec(code, regs);
                // The entry area is mapped under every kernel. What must not be written is looked at when all is over.
                let fault = ended.vector == PAGE_FAULT || index == 257 && ended.vector == 6;
                report.check(format_args!("slot {index} at {:#x}: {ended:x?}", regs.rdi), fault);
            }
        }
    }
    report.check(format_args!("the frame was written"), read(leaf) == 0);
}

fn large(report: &mut Report) {
    let tables = own_tables(FREE);
    let place = tables[2] + slot(FREE, 2) * 8;
    for (value, good) in [
        (RW | US | PS, true),
        (0x20_0000 | RW | US | PS, true),
        (0x20_0000 | RW | US | PS | 1 << 12, true),
        (0x20_0000 | RW | US | PS | 1 << 13, false),
        (0x20_0000 | RW | US | PS | 1 << 20, false),
        ((1 << 41) | RW | US | PS, false),
        ((tables[1] & !0x1f_ffff) | RW | PS, true),
    ] {
        write(place, value);
        set_cr3(tables[4]);
        for offset in [0, 0x1000, 0x10_0000, 0x1f_f000] {
            let ended = exec(TOUCH[0], at(FREE + offset));
            let refused = (ended.vector, ended.error) == (PAGE_FAULT, 9);
            report.check(format_args!("a large page {value:#x}: {ended:x?}"), refused != good);
        }
    }
    // Through a large page over its own tables, the entry that maps it.
    let region = place & !0x1f_ffff;
    write(place, region | RW | PS);
    set_cr3(tables[4]);
    let code = [&WRITE_AND_FORGET[..], TOUCH[0]].concat_into::<9>();
    let va = FREE + (place - region);
    let ended = exec(&code, Regs { rdi: va, rsi: va, ..Regs::default() });
    report.check(format_args!("a large page takes itself away: {ended:x?}"), ended.vector == PAGE_FAULT);
    write(tables[3] + slot(FREE, 3) * 8, PS | RW | US | 1 << 13);
    set_cr3(tables[4]);
    let ended = exec(TOUCH[0], at(FREE));
    let refused = (ended.vector, ended.error) == (PAGE_FAULT, 9);
    report.check(format_args!("a huge page askew: {ended:x?}"), refused);
}

/// Where the entry of an address of the window is seen when [`PLAY`] maps the window's L1.
const fn seen(va: u64) -> u64 {
    PLAY + slot(va, 1) * 8
}

fn own_translation(report: &mut Report) {
    let l1 = entry_of(PLAY) & ADDRESS | RW | NX;
    map(PLAY, l1);
    let code = [&WRITE_AND_FORGET[..], &[0x90]].concat_into::<7>();
    let was = read(entry_of(WINDOW));
    let ended = exec(&code, Regs { rdi: seen(WINDOW), rsi: WINDOW, ..Regs::default() });
    write(entry_of(WINDOW), was);
    let gone = ended.vector == PAGE_FAULT && ended.error & 2 == 0;
    report.check(format_args!("code takes its page away: {ended:x?}"), gone);
    let rax = read(entry_of(DATA));
    let ended = exec(&code, Regs { rdi: seen(DATA), rsi: DATA, rax, ..Regs::default() });
    report.check(format_args!("code writes what was there: {ended:x?}"), whole(&ended, &code));
    // The entry of the page through which it is written.
    let code = [&WRITE_AND_FORGET[..], TOUCH[0]].concat_into::<9>();
    let ended = exec(&code, Regs { rdi: seen(PLAY), rsi: PLAY, ..Regs::default() });
    write(entry_of(PLAY), l1);
    report.check(format_args!("a table takes its own page away: {ended:x?}"), ended.vector == PAGE_FAULT);
}

fn half_in_table(report: &mut Report) {
    const WRITES: [&[u8]; 6] = [
        &[0x48, 0x89, 0x07],
        &[0x48, 0x87, 0x07],
        &[0xf0, 0x48, 0x0f, 0xb1, 0x0f],
        &[0x0f, 0x11, 0x07],
        &[0x66, 0x0f, 0x7f, 0x07],
        &[0x48, 0xab],
    ];
    let tables = own_tables(FREE);
    let pages = [frame(), tables[1], frame()];
    // Three pages, of which the middle one is the table that maps them. Its first and last entries are nobody's.
    for (index, page) in pages.into_iter().enumerate() {
        write(tables[1] + (0x10 + index as u64) * 8, page | RW | NX);
    }
    set_cr3(tables[4]);
    let first = FREE + 0x10_000;
    for offset in [0xff1, 0xff9, 0xffc, 0xfff, 0x1ff1, 0x1ff8, 0x1ff9, 0x1ffd, 0x1fff] {
        for code in WRITES {
            let rdi = first + offset;
            let before = [read(pages[0] + 0xff8), read(pages[2])];
            let ended = exec(code, Regs { rdi, rax: 0x1100_0000_0000_0022, rcx: 0x33, ..Regs::default() });
            let known = [6, PROTECTION].contains(&ended.vector);
            report.check(format_args!("a write at {rdi:#x}: {ended:x?}"), known);
            write(pages[0] + 0xff8, before[0]);
            write(pages[2], before[1]);
            [0, 8, 0xff0, 0xff8].into_iter().for_each(|offset| write(tables[1] + offset, 0));
        }
    }
    // One word over two pages: both halves are there.
    let ended = exec(WRITES[0], Regs { rdi: first + 0xffc, rax: 0x5555_6666_7777_8888, ..Regs::default() });
    let halves = (read(pages[0] + 0xff8) >> 32, read(tables[1]) & 0xffff_ffff) == (0x7777_8888, 0x5555_6666);
    report.check(format_args!("a word over two pages: {ended:x?}"), whole(&ended, WRITES[0]) && halves);
}

fn code_in_table(report: &mut Report) {
    let tables = own_tables(FREE);
    // An L1 whose entry 1 maps itself, and which holds code: inc qword ptr [rip + 0x1f9]; the operand is entry 0x60.
    write(tables[1] + 8, tables[1] | RW | US);
    memory::place(tables[1] + 0x100, &[0x48, 0xff, 0x05, 0xf9, 0x01, 0, 0, 0x0f, 0x0b]);
    set_cr3(tables[4]);
    let jump = [0xff, 0xe7];
    for round in 1..=300 {
        let ended = exec(&jump, at(FREE + 0x1100));
        let good = ended.vector == 6 && read(tables[1] + 0x300) == round;
        report.check(format_args!("round {round} of code in a table: {ended:x?}"), good);
    }
    let ended = exec_user(&jump, at(FREE + 0x1100));
    report.check(format_args!("a program's code in a table: {ended:x?}"), ended.vector == 6);
    // It writes over the instructions behind the one that writes.
    memory::place(tables[1] + 0x100, &[0x48, 0x89, 0x07, 0x90, 0x90, 0x90, 0x90, 0x90, 0x0f, 0x0b]);
    let regs = Regs { rdi: FREE + 0x1100, rsi: FREE + 0x1100, rax: 0x900b_0f0b_0f90_9090, ..Regs::default() };
    let ended = exec(&[0xff, 0xe6], regs);
    report.check(format_args!("code in a table writes itself: {ended:x?}"), ended.vector == 6);
}

fn all_levels(report: &mut Report) {
    let root = memory::copy_of_root();
    let table = frame();
    // Entry 1 of it is itself: at every level the next table, and then the page.
    write(table + 8, table | RW | US);
    write(root + slot(FREE, 4) * 8, table | RW | US);
    set_cr3(root);
    let va = FREE | 1 << 30 | 1 << 21 | 1 << 12;
    let twice = [TOUCH[1], TOUCH[0]].concat_into::<6>();
    for index in [1, 2, 7, 511] {
        let ended = exec(&twice, Regs { rdi: va + index * 8, rax: table | RW | US, ..Regs::default() });
        let good = ended.vector == 6 && read(table + index * 8) & ADDRESS == table;
        report.check(format_args!("entry {index}: {ended:x?}"), good);
        let other = FREE | index << 30 | index << 21 | index << 12;
        let ended = exec(TOUCH[0], at(other + index * 8));
        report.check(format_args!("by entry {index}: {ended:x?}"), whole(&ended, TOUCH[0]));
    }
    // A program writes it; then nobody relies on it.
    let ended = exec_user(TOUCH[1], at(va + 16));
    report.check(format_args!("a program writes a table: {ended:x?}"), ended.vector == 6);
    // The same frame as a page of the programs' window.
    map(USER_PLAY, table | RW | US);
    touch_read(report, USER_PLAY);
    let code = [&WRITE_AND_FORGET[..], TOUCH[0]].concat_into::<9>();
    let ended = exec(&code, Regs { rdi: va + 8, rsi: va + 8, ..Regs::default() });
    report.check(format_args!("the table is taken out of itself: {ended:x?}"), ended.vector == PAGE_FAULT);
}
