//! More tables than anybody keeps copies of, and rights that change all the time.

use crate::attacks::{Report, Row};
use crate::guard::Regs;
use crate::native::memory::{self, NX, RW, SLOT, US, USER, entry_of, frame, map, read, slot, write};
use crate::native::registers::{invlpg, msr, set_cr0, set_cr3, wrmsr};
use crate::native::state::{CR0, EFER};
use crate::native::subject::{CODE, PAGE_FAULT, PLAY, USER_PLAY, exec, exec_user, whole};

pub const ROWS: &[Row] = &[
    Row {
        name: "pc-many-roots",
        reason: "more roots than there are frames for shadows, loaded in turn: each load finds another one given up",
        run: many_roots,
    },
    Row {
        name: "pc-many-tables",
        reason: "a thousand tables below one root, again and again",
        run: many_tables,
    },
    Row {
        name: "pc-many-aliases",
        reason: "a page mapped a thousand times becomes a page table: one alias that stays writable is a table nobody sees written",
        run: many_aliases,
    },
    Row {
        name: "pc-write-protection",
        reason: "CR0.WP on and off between writes to pages that are read-only",
        run: write_protection,
    },
    Row {
        name: "pc-no-execute",
        reason: "EFER.NXE on and off: bit 63 is a right, and then a reserved bit",
        run: no_execute,
    },
    Row {
        name: "pc-program-writes-table",
        reason: "programs write page tables in use: what was made of them must not outlive an invalidation",
        run: program_writes,
    },
    Row {
        name: "pc-table-strings",
        reason: "rep stosq and rep movsb over a page table in use, a write at a time, until it is let go",
        run: strings,
    },
];

const READ: &[u8] = &[0x48, 0x8b, 0x07];
const WRITE: &[u8] = &[0x48, 0x89, 0x07];
const FREE: u64 = 6 * SLOT;

fn at(rdi: u64) -> Regs {
    Regs { rdi, ..Regs::default() }
}

/// A root with tables of its own for an address; the root and the L1.
fn space() -> (u64, u64) {
    let root = memory::copy_of_root();
    let mut table = root;
    for level in [4, 3, 2] {
        let next = frame();
        write(table + slot(FREE, level) * 8, next | RW | US);
        table = next;
    }
    (root, table)
}

fn many_roots(report: &mut Report) {
    const ROOTS: usize = 160;
    let leaves = [frame(), frame()];
    leaves.iter().for_each(|leaf| write(*leaf, *leaf));
    let mut roots = [0; ROOTS];
    for (index, place) in roots.iter_mut().enumerate() {
        let (root, l1) = space();
        write(l1, leaves[index % 2] | RW | US);
        *place = root;
    }
    for round in 0..3 {
        for (index, root) in roots.iter().enumerate() {
            set_cr3(*root);
            let ended = exec(READ, at(FREE));
            let good = whole(&ended, READ) && ended.regs.rax == leaves[index % 2];
            report.check(format_args!("root {index} in round {round}: {ended:x?}"), good);
        }
    }
}

fn many_tables(report: &mut Report) {
    const TABLES: u64 = 1000;
    let leaf = frame();
    let root = memory::copy_of_root();
    let l3 = frame();
    write(root + slot(FREE, 4) * 8, l3 | RW | US);
    for index in 0..TABLES {
        if index % 512 == 0 {
            write(l3 + index / 512 * 8, frame() | RW | US);
        }
        let l2 = read(l3 + index / 512 * 8) & memory::ADDRESS;
        let l1 = frame();
        write(l2 + index % 512 * 8, l1 | RW | US);
        write(l1 + index % 512 * 8, leaf | RW | US);
    }
    set_cr3(root);
    for round in 0..2 {
        for index in 0..TABLES {
            let word = (FREE + (index << 21) + ((index % 512) << 12)) as *mut u64;
            // SAFETY: mapped above; the leaf is this attack's.
            let now = unsafe {
                word.write_volatile(word.read_volatile() + 1);
                word.read_volatile()
            };
            report.check(format_args!("table {index}: {now}"), now == round * TABLES + index + 1);
        }
    }
}

fn many_aliases(report: &mut Report) {
    let table = frame();
    let root = memory::copy_of_root();
    let mut l2 = root;
    for level in [4, 3] {
        let next = frame();
        write(l2 + slot(FREE, level) * 8, next | RW | US);
        l2 = next;
    }
    // Two L1s with nothing but this frame.
    for index in 0..2 {
        let l1 = frame();
        write(l2 + index * 8, l1 | RW | US);
        (0..512).for_each(|page| write(l1 + page * 8, table | RW | US));
    }
    set_cr3(root);
    for page in 0..1024 {
        // SAFETY: mapped above.
        unsafe { ((FREE + (page << 12)) as *mut u64).add(8).write_volatile(page) };
    }
    // Now it is an L1 as well, whose entry 0 each of the aliases changes.
    write(l2 + 2 * 8, table | RW | US);
    let pages = [frame(), frame()];
    pages.iter().for_each(|page| write(*page, *page));
    let seen = FREE + (2 << 21);
    for page in 0..1024_u64 {
        let leaf = pages[(page % 2) as usize];
        // SAFETY: as above.
        let found = unsafe {
            ((FREE + (page << 12)) as *mut u64).write_volatile(leaf | RW | US);
            invlpg(seen);
            (seen as *const u64).read_volatile()
        };
        report.check(format_args!("alias {page}: {found:#x}, wanted {leaf:#x}"), found == leaf);
    }
}

fn write_protection(report: &mut Report) {
    let leaf = frame();
    for round in 1..=20 {
        for (flags, va) in [(1, PLAY), (1 | US, USER_PLAY)] {
            map(va, leaf | flags | NX);
            let regs = Regs { rdi: va, rax: round, ..Regs::default() };
            set_cr0(CR0);
            let ended = exec(WRITE, regs);
            let refused = (ended.vector, ended.error) == (PAGE_FAULT, 3);
            report.check(format_args!("protected: {ended:x?}"), refused);
            set_cr0(CR0 & !(1 << 16));
            let ended = exec(WRITE, regs);
            report.check(
                format_args!("not protected: {ended:x?}"),
                whole(&ended, WRITE) && read(leaf) == round,
            );
            if flags & US != 0 {
                let ended = exec_user(READ, regs);
                report.check(format_args!("a program reads it: {ended:x?}"), whole(&ended, READ));
                let ended = exec_user(WRITE, regs);
                let refused = (ended.vector, ended.error) == (PAGE_FAULT, 7);
                report.check(format_args!("a program writes it: {ended:x?}"), refused);
            }
        }
    }
}

fn no_execute(report: &mut Report) {
    let leaf = frame();
    memory::place(leaf, &[0x0f, 0x0b]);
    let jump = &[0xff, 0xe7];
    for _ in 0..10 {
        map(PLAY, leaf | RW | NX);
        wrmsr(msr::EFER, EFER);
        let ended = exec(jump, at(PLAY));
        let refused = (ended.vector, ended.error) == (PAGE_FAULT, 0x11);
        report.check(format_args!("not executable: {ended:x?}"), refused);
        wrmsr(msr::EFER, EFER & !(1 << 11));
        let ended = exec(jump, at(PLAY));
        let refused = (ended.vector, ended.error & 9) == (PAGE_FAULT, 9);
        report.check(format_args!("reserved: {ended:x?}"), refused);
        map(PLAY, leaf | RW);
        let ended = exec(jump, at(PLAY));
        report.check(format_args!("executable: {ended:x?}"), (ended.vector, ended.rip) == (6, PLAY));
    }
}

fn program_writes(report: &mut Report) {
    let pages = [frame(), frame()];
    pages.iter().for_each(|page| write(*page, *page));
    // The programs' own L1, at a page of theirs.
    map(USER_PLAY, entry_of(USER) & memory::ADDRESS | RW | US | NX);
    let second = USER_PLAY + 0x1000;
    for round in 0..100 {
        let page = pages[round % 2];
        let rdi = USER_PLAY + slot(second, 1) * 8;
        let ended = exec_user(WRITE, Regs { rdi, rax: page | RW | US, ..Regs::default() });
        report.check(format_args!("a program writes its table: {ended:x?}"), whole(&ended, WRITE));
        invlpg(second);
        let ended = exec_user(READ, at(second));
        let good = whole(&ended, READ) && ended.regs.rax == page;
        report.check(format_args!("round {round}: {ended:x?}"), good);
        if round % 10 == 0 {
            // As the kernel, which is seen again.
            memory::map(second, 0);
            let ended = exec_user(READ, at(second));
            report.check(format_args!("taken away: {ended:x?}"), ended.vector == PAGE_FAULT);
        }
    }
}

fn strings(report: &mut Report) {
    let (root, l1) = space();
    let pages = [frame(), frame()];
    let nothing = frame();
    let seen = FREE + 0x5000;
    for round in 0..4 {
        let page = pages[round % 2];
        write(page, page);
        (0..512).for_each(|index| write(l1 + index * 8, page | RW | US));
        set_cr3(root);
        let ended = exec(READ, at(seen));
        report.check(format_args!("filled: {ended:x?}"), whole(&ended, READ) && ended.regs.rax == page);
        let (code, rcx): (&[u8], u64) =
            if round < 2 { (&[0xf3, 0x48, 0xab], 512) } else { (&[0xf3, 0xa4], 4096) };
        let (rdi, rsi) = (memory::DIRECT + l1, memory::DIRECT + nothing);
        let ended = exec(code, Regs { rdi, rsi, rcx, ..Regs::default() });
        report.check(format_args!("cleared: {ended:x?}"), whole(&ended, code));
        invlpg(seen);
        let ended = exec(READ, at(seen));
        report.check(format_args!("gone: {ended:x?}"), ended.vector == PAGE_FAULT);
    }
    report.check(format_args!("code is still where it was"), read(entry_of(CODE)) != 0);
}
