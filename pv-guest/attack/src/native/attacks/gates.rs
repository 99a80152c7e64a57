//! The interrupt descriptor table and the task state: wherever they lie, whatever they say.

use crate::attacks::{Report, Row};
use crate::guard::{Regs, Start};
use crate::native::guard::{self, Ended, stub};
use crate::native::memory::{self, ADDRESS, HYPERVISOR, NX, RW, US, entry_of, frame, map};
use crate::native::registers::cr2;
use crate::native::state::load_tables;
use crate::native::subject::{
    self, NOTHING, PAGE_FAULT, PLAY, PROTECTION, exec, exec_user, operand, restore,
};
use crate::native::tables::{
    self, FREE_VECTOR, IST1, KERNEL_CODE, RSP0, TASK, Table, gate, gate_with, physical, pointer_to, set_gate,
    set_task_word,
};
use crate::native::whole_run;

pub const ROWS: &[Row] = &[
    Row {
        name: "pc-gate-limits",
        reason: "IDT limits that cut gates off: the gate behind the limit is read all the same",
        run: limits,
    },
    Row {
        name: "pc-gate-places",
        reason: "an IDT that is read-only, a page table, half unmapped, at the end of the address space, changed after it was loaded",
        run: places,
    },
    Row {
        name: "pc-gate-types",
        reason: "every type, level and selector of a gate, raised from kernel and program: a call gate or a ring-0 selector is taken",
        run: types,
    },
    Row {
        name: "pc-gate-targets",
        reason: "handlers at addresses that do not exist, that are the hypervisor's, that are nobody's",
        run: targets,
    },
    Row {
        name: "pc-gate-stacks",
        reason: "frames onto stacks that are unmapped, read-only, not canonical, the hypervisor's, a page table: written with ring 0's rights",
        run: stacks,
    },
    Row {
        name: "pc-ring0-stacks",
        reason: "the same stacks as RSP0, taken by programs' exceptions",
        run: ring0_stacks,
    },
    Row {
        name: "pc-task-state",
        reason: "task states that end early, lie nowhere, wrap round, and ltr of everything that is none",
        run: task_state,
    },
    Row {
        name: "pc-double-fault",
        reason: "exceptions whose handlers fault, down to a double fault that is handled",
        run: double_fault,
    },
];

/// `lidt [rdi]`, then `int FREE_VECTOR`.
const LOAD_AND_RAISE: [u8; 5] = [0x0f, 0x01, 0x1f, 0xcd, FREE_VECTOR];
const RAISE: [u8; 2] = [0xcd, FREE_VECTOR];
/// The error code for [`FREE_VECTOR`]'s gate.
const REFUSED: u64 = (FREE_VECTOR as u64) << 3 | 2;

fn is(ended: &Ended, vector: u64, error: u64) -> bool {
    (ended.vector, ended.error) == (vector, error)
}

fn limits(report: &mut Report) {
    let base = tables::address(Table::Idt);
    let last = u16::from(FREE_VECTOR) * 16 + 15;
    for limit in [last, last + 1, 0xffff, last - 1, last - 15, last - 16, 15 * 16 - 1, 15 * 16] {
        let ended = exec(&LOAD_AND_RAISE, operand(&pointer_to(base, limit)));
        load_tables();
        let good =
            if limit >= last { ended.vector == FREE_VECTOR.into() } else { is(&ended, PROTECTION, REFUSED) };
        report.check(format_args!("limit {limit:#x}: {ended:x?}"), good);
    }
    for base in [1 << 47, 0x8000_0000_0000_0000, 0xffff_7fff_ffff_ffff, 0x1234_5678_9abc_def0] {
        let ended = exec(&LOAD_AND_RAISE, operand(&pointer_to(base, 0xfff)));
        report.check(
            format_args!("base {base:#x}: {ended:x?}"),
            is(&ended, PROTECTION, 0) && ended.rip & 0xfff == 0,
        );
    }
}

/// A copy of the table in a new frame.
fn copy_of_gates() -> u64 {
    let copy = frame();
    let from = physical(Table::Idt);
    (0..512).for_each(|word| memory::write(copy + word * 8, memory::read(from + word * 8)));
    copy
}

fn places(report: &mut Report) {
    let copy = copy_of_gates();
    for flags in [1, RW, 1 | NX, RW | US, 1 | US | NX] {
        map(PLAY, copy | flags);
        let ended = exec(&LOAD_AND_RAISE, operand(&pointer_to(PLAY, 0xfff)));
        report.check(format_args!("flags {flags:#x}: {ended:x?}"), ended.vector == FREE_VECTOR.into());
        // Changed after it was loaded.
        memory::write(copy + u64::from(FREE_VECTOR) * 16, 0);
        let ended = exec(&RAISE, Regs::default());
        report.check(format_args!("taken out: {ended:x?}"), is(&ended, PROTECTION, REFUSED));
        let [low, high] = gate(stub(FREE_VECTOR));
        memory::write(copy + u64::from(FREE_VECTOR) * 16, low);
        memory::write(copy + u64::from(FREE_VECTOR) * 16 + 8, high);
        load_tables();
    }
    // Half of it is not there: gates from 128 on.
    map(PLAY, copy | RW);
    let place = memory::mark();
    let shifted = [frame(), frame()];
    (0..256).for_each(|word| memory::write(shifted[0] + 2048 + word * 8, memory::read(copy + word * 8)));
    map(PLAY, shifted[0] | RW);
    map(PLAY + 0x1000, 0);
    let ended = exec(&LOAD_AND_RAISE, operand(&pointer_to(PLAY + 2048, 0xfff)));
    let good = is(&ended, PAGE_FAULT, 0) && cr2() == PLAY + 2048 + u64::from(FREE_VECTOR) * 16;
    report.check(format_args!("half a table: {ended:x?}"), good);
    let ended = exec_user(&RAISE, Regs::default());
    report.check(format_args!("half a table, by a program: {ended:x?}"), is(&ended, PAGE_FAULT, 0));
    load_tables();
    memory::release(place);
    // It is the page table that maps it: each walk marks it.
    let l1 = entry_of(PLAY) & ADDRESS;
    let gates = 32;
    let was: [u64; 64] = core::array::from_fn(|word| memory::read(l1 + 0x800 + word as u64 * 8));
    for word in 0..gates * 2 {
        memory::write(l1 + 0x800 + word * 8, memory::read(copy + word * 8));
    }
    map(PLAY, l1 | RW);
    let ended = exec(&[0x0f, 0x01, 0x1f, 0xcc], operand(&pointer_to(PLAY + 0x800, 0x1ff)));
    load_tables();
    was.iter().enumerate().for_each(|(word, value)| memory::write(l1 + 0x800 + word as u64 * 8, *value));
    report.check(format_args!("in a page table: {ended:x?}"), ended.vector == 3);
    // At the end of the address space: the limit wraps.
    let ended = exec(
        &[0x0f, 0x01, 0x1f, 0x0f, 0x01, 0x1e],
        Regs {
            rsi: subject::DATA + 16,
            ..operand_two(pointer_to(u64::MAX - 15, 0xffff), tables::pointer(Table::Idt))
        },
    );
    report.check(format_args!("at the end: {ended:x?}"), ended.vector == 6);
}

/// Two operands, sixteen bytes apart.
fn operand_two(first: [u8; 10], second: [u8; 10]) -> Regs {
    let mut both = [0; 26];
    both[..10].copy_from_slice(&first);
    both[16..].copy_from_slice(&second);
    operand(&both)
}

fn types(report: &mut Report) {
    const SELECTORS: [u16; 12] =
        [KERNEL_CODE, 0, 3, 0x10, 0x23, 0x1b, TASK, 0x3b, 0x0c, 0xfff8, 0xe008, 0xe069];
    tables::set_descriptor(0x48, 0x00af_9f00_0000_ffff);
    let step = if whole_run() { 1 } else { 3 };
    for access in (0..=255).rev().step_by(step) {
        for selector in SELECTORS {
            set_gate(FREE_VECTOR, gate_with(stub(FREE_VECTOR), selector, 1, access));
            let ended = exec(&RAISE, Regs::default());
            let taken = matches!(access & 0x9f, 0x8e | 0x8f) && selector == KERNEL_CODE;
            let good =
                if taken { ended.vector == FREE_VECTOR.into() } else { [10, 11, 13].contains(&ended.vector) };
            report.check(format_args!("gate {access:#x} {selector:#x}: {ended:x?}"), good);
            if selector == KERNEL_CODE || access & 0x8e == 0x8e {
                let ended = exec_user(&RAISE, Regs::default());
                let taken = taken && access >> 5 & 3 == 3;
                let refused = [10, 11, 12, 13, 6, 14].contains(&ended.vector);
                let good = if taken { ended.vector == FREE_VECTOR.into() } else { refused };
                report.check(format_args!("gate {access:#x} {selector:#x}, program: {ended:x?}"), good);
            }
        }
    }
}

fn targets(report: &mut Report) {
    for target in
        [0, NOTHING, HYPERVISOR, HYPERVISOR | 0x8000_0000, 0xffff_87ff_ffff_f000, u64::MAX, subject::DATA]
    {
        set_gate(FREE_VECTOR, gate(target));
        let ended = exec(&RAISE, Regs::default());
        let good = ended.vector == PAGE_FAULT && ended.rip == target;
        report.check(format_args!("a handler at {target:#x}: {ended:x?}"), good);
        let ended = exec_user(&RAISE, Regs::default());
        let good = ended.vector == PAGE_FAULT && ended.rip == target && ended.cs & 3 == 0;
        report.check(format_args!("a handler at {target:#x}, program: {ended:x?}"), good);
    }
    for target in [1 << 47, 1 << 63, 0xffff_7fff_ffff_ffff, 0x7fff_ffff_ffff_ffff] {
        set_gate(FREE_VECTOR, gate(target));
        let ended = exec(&RAISE, Regs::default());
        report.check(format_args!("a handler at {target:#x}: {ended:x?}"), ended.vector == PROTECTION);
        let ended = exec_user(&RAISE, Regs::default());
        report
            .check(format_args!("a handler at {target:#x}, program: {ended:x?}"), ended.vector == PROTECTION);
    }
}

/// Bad ends of stacks, with the vectors that pushing there raises.
fn bad_stacks() -> [(u64, &'static [u64]); 8] {
    let read_only = frame();
    map(PLAY + 0x5000, read_only | 1);
    map(PLAY + 0x7000, frame() | RW);
    [
        (NOTHING + 0x800, &[14]),
        (PLAY + 0x5800, &[14]),
        (PLAY + 0x7010, &[14]),
        ((1 << 47) + 0x800, &[12]),
        (0x1234_5678_9abc_def0, &[12]),
        (HYPERVISOR + 0x1000, &[14]),
        (HYPERVISOR | 0x8000_4000, &[14]),
        (0x20, &[12, 14]),
    ]
}

fn stacks(report: &mut Report) {
    for (top, vectors) in bad_stacks() {
        set_task_word(IST1 + 8, top);
        set_gate(FREE_VECTOR, gate_with(stub(FREE_VECTOR), KERNEL_CODE, 2, 0xee));
        for user in [false, true] {
            let ended = if user { exec_user(&RAISE, Regs::default()) } else { exec(&RAISE, Regs::default()) };
            report.check(format_args!("a stack at {top:#x}: {ended:x?}"), vectors.contains(&ended.vector));
        }
        // Without a table's stack: the kernel's own is used as it is.
        set_gate(FREE_VECTOR, gate_with(stub(FREE_VECTOR), KERNEL_CODE, 0, 0xee));
        let ended = guard::run(&Start { rsp: top, ..subject::kernel(&RAISE) });
        let good = vectors.contains(&ended.vector) || ended.vector == FREE_VECTOR.into();
        report.check(format_args!("RSP at {top:#x}: {ended:x?}"), good);
    }
    // A page table that is in use.
    restore();
    let l1 = entry_of(PLAY) & ADDRESS;
    map(PLAY, l1 | RW | NX);
    set_task_word(IST1 + 8, PLAY + 0xfc0);
    set_gate(FREE_VECTOR, gate_with(stub(FREE_VECTOR), KERNEL_CODE, 2, 0xee));
    let ended = exec(&RAISE, Regs::default());
    report.check(format_args!("a frame in a page table: {ended:x?}"), ended.vector == FREE_VECTOR.into());
    report.check(format_args!("it is there"), memory::read(l1 + 0xfa0) == KERNEL_CODE.into());
    for place in 0x1f0..0x1f8 {
        memory::write(l1 + place * 8, 0);
    }
    // All seven, and none of them in the task state.
    for number in 2..=7 {
        set_task_word(IST1 + 8 * (number - 1), (1 << 47) + number * 0x1000);
        set_gate(FREE_VECTOR, gate_with(stub(FREE_VECTOR), KERNEL_CODE, number as u8, 0xee));
        let ended = exec(&RAISE, Regs::default());
        report.check(format_args!("stack {number}: {ended:x?}"), is(&ended, 12, 0));
    }
}

fn ring0_stacks(report: &mut Report) {
    set_gate(FREE_VECTOR, gate_with(stub(FREE_VECTOR), KERNEL_CODE, 0, 0xee));
    for (top, vectors) in bad_stacks() {
        set_task_word(RSP0, top);
        let ended = exec_user(&RAISE, Regs::default());
        report.check(format_args!("RSP0 {top:#x}: {ended:x?}"), vectors.contains(&ended.vector));
    }
    // The program's own stack, and the page its code lies on.
    let ends = [subject::user(&RAISE).rsp, subject::user(&RAISE).rip + 0x1000];
    for top in ends {
        set_task_word(RSP0, top);
        let ended = exec_user(&RAISE, Regs::default());
        report.check(format_args!("RSP0 {top:#x}: {ended:x?}"), ended.vector == FREE_VECTOR.into());
    }
}

/// `ltr si`, with a descriptor put at the selector's place first.
fn load_task(selector: u16, words: [u64; 2]) -> Ended {
    if selector & !7 != 0 && usize::from(selector >> 3) + 1 < tables::PLACES {
        tables::set_descriptor(selector, words[0]);
        tables::set_descriptor(selector + 8, words[1]);
    }
    exec(&[0x0f, 0x00, 0xde], Regs { rsi: selector.into(), ..Regs::default() })
}

fn task_state(report: &mut Report) {
    const PLACE: u16 = 0x50;
    let task = tables::address(Table::Task);
    for access in 0..=255 {
        let ended = load_task(PLACE, tables::system(task, 103, access));
        let good = match (access & 0x1f, access & 0x80) {
            (9, 0x80) => ended.vector == 6,
            (9, _) => is(&ended, 11, PLACE.into()),
            _ => is(&ended, PROTECTION, PLACE.into()),
        };
        report.check(format_args!("ltr of {access:#x}: {ended:x?}"), good);
    }
    for selector in [0, 3, 0x54, 0xfff8, 0x1000] {
        let ended = load_task(selector, [0; 2]);
        report.check(
            format_args!("ltr {selector:#x}: {ended:x?}"),
            is(&ended, PROTECTION, u64::from(selector & !3)),
        );
    }
    let ended = load_task(PLACE, tables::system(1 << 47, 103, 0x89));
    report.check(
        format_args!("a base that is not canonical: {ended:x?}"),
        is(&ended, PROTECTION, PLACE.into()),
    );
    // Those that can be loaded, and are no use: a program's exception finds no stack in them. One vector keeps a way back
    // that needs none.
    for (base, limit) in [(task, 0), (task, 10), (NOTHING, 103), (HYPERVISOR, 103), (u64::MAX - 20, 0xfffff)]
    {
        for vector in 0..32 {
            set_gate(vector, gate_with(stub(vector), KERNEL_CODE, 0, 0xee));
        }
        set_gate(FREE_VECTOR, gate_with(stub(FREE_VECTOR), KERNEL_CODE, 1, 0xee));
        load_task(PLACE, tables::system(base, limit, 0x89));
        let ended = exec(&RAISE, Regs::default());
        report
            .check(format_args!("a task at {base:#x}: {ended:x?}"), [10, 13, 14, 8].contains(&ended.vector));
        tables::fill();
        load_tables();
    }
}

fn double_fault(report: &mut Report) {
    // Contributory by contributory, page fault by page fault, page fault by contributory.
    for (vector, code, rdi) in
        [(13, &[0x0f, 0x00, 0xdf][..], 0), (14, &[0x8b, 0x07], NOTHING), (13, &[0x8b, 0x07], 1 << 47)]
    {
        for (target, stack) in [(1 << 47, 1), (stub(vector), 2)] {
            set_task_word(IST1 + 8, (1 << 47) + 0x800);
            set_gate(vector, gate_with(target, KERNEL_CODE, stack, 0x8e));
            let ended = exec(code, Regs { rdi: if rdi == 0 { NOTHING } else { rdi }, ..Regs::default() });
            tables::fill();
            let good = is(&ended, 8, 0) && ended.rip & 0xfff == 0;
            report.check(format_args!("vector {vector} cannot be delivered: {ended:x?}"), good);
        }
    }
    // A page fault whose stack faults.
    set_task_word(IST1 + 8, NOTHING + 0x100);
    set_gate(14, gate_with(stub(14), KERNEL_CODE, 2, 0x8e));
    let ended = exec(&[0x8b, 0x07], Regs { rdi: NOTHING, ..Regs::default() });
    report.check(format_args!("a page fault onto nothing: {ended:x?}"), is(&ended, 8, 0));
    tables::fill();
    let ended = exec(&RAISE, Regs::default());
    report.check(format_args!("and then all is well: {ended:x?}"), ended.vector == FREE_VECTOR.into());
}
