//! Instructions: what is emulated with every prefix, at every edge of a page and of the address space, and step by step.

use pv_attack_logic::generate::instructions::SYSTEM;

use crate::attacks::{Report, Row};
use crate::guard::{Regs, Start};
use crate::native::guard;
use crate::native::memory::{self, NX, RW, US, frame, map, slot, write};
use crate::native::registers::set_cr3;
use crate::native::state;
use crate::native::subject::{self, DATA, PAGE_FAULT, PLAY, exec, exec_user, whole};

pub const ROWS: &[Row] = &[
    Row {
        name: "pc-prefixes",
        reason: "emulated instructions with every prefix, LOCK, and more than fifteen bytes",
        run: prefixes,
    },
    Row {
        name: "pc-single-step",
        reason: "TF over every emulated instruction: a trap in the hypervisor, or none for the kernel",
        run: single_step,
    },
    Row {
        name: "pc-page-edges",
        reason: "emulated instructions over the edge to a page that is not there, not executable, or other code",
        run: page_edges,
    },
    Row {
        name: "pc-end-of-half",
        reason: "emulated instructions that end where addresses end: RIP behind them is not canonical",
        run: end_of_half,
    },
    Row {
        name: "pc-other-instructions",
        reason: "vmcall, svm, monitor, xsaves, rdpmc, invpcid and their like: the machine's own are done",
        run: others,
    },
    Row {
        name: "pc-written-code",
        reason: "an instruction that is overwritten before, while and after it is emulated",
        run: written,
    },
];

const KNOWN: [u64; 17] = [1, 3, 4, 6, 7, 11, 12, 13, 14, 17, 0x80, 0xf0, 2, 0x101, 0x102, 0x103, 16];

/// Registers with which no instruction of the table waits, ends the machine, or takes away what this kernel runs with.
fn tame() -> Regs {
    // CR0, and CR4 by its bits, are what they are; ports are those of nobody.
    Regs { rax: 0x80, rcx: 2, rdx: 0x80, rsi: DATA + 0x100, rdi: DATA + 0x200, ..Regs::default() }
}

/// Whether an instruction would wait with nothing to come, or end what ends an attack.
fn untamed(code: &[u8]) -> bool {
    let pairs = |pair: [u8; 2]| code.windows(2).any(|two| two == pair);
    // hlt; lidt, which would be of what DATA holds; mwait and its like; out of RAX to a port of a constant.
    code.contains(&0xf4) || pairs([0x01, 0x1f]) || pairs([0x01, 0xc9]) || pairs([0x01, 0x17])
}

fn system() -> impl Iterator<Item = &'static [u8]> {
    SYSTEM.iter().copied().filter(|code| !untamed(code))
}

fn prefixes(report: &mut Report) {
    const PREFIXES: [&[u8]; 13] = [
        &[0x66],
        &[0x67],
        &[0xf2],
        &[0xf3],
        &[0xf0],
        &[0x2e],
        &[0x64],
        &[0x65],
        &[0x40],
        &[0x48],
        &[0x4f],
        &[0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66],
        &[0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e],
    ];
    for instruction in system() {
        for prefix in PREFIXES {
            let mut code = [0; 24];
            let length = prefix.len() + instruction.len();
            code[..prefix.len()].copy_from_slice(prefix);
            code[prefix.len()..length].copy_from_slice(instruction);
            let code = &code[..length];
            if untamed(code) {
                continue;
            }
            let ended = exec(code, tame());
            report.check(format_args!("{code:x?}: {ended:x?}"), KNOWN.contains(&ended.vector));
            if prefix.len() == 15 {
                // More than fifteen bytes are no instruction.
                let refused = [6, 13].contains(&ended.vector) && ended.rip & 0xfff == 0;
                report.check(format_args!("{code:x?}: {ended:x?}"), refused);
            }
            let ended = exec_user(code, tame());
            report.check(format_args!("program {code:x?}: {ended:x?}"), KNOWN.contains(&ended.vector));
        }
        state::restore();
    }
}

fn single_step(report: &mut Report) {
    for instruction in system() {
        for user in [false, true] {
            let start = if user { subject::user(instruction) } else { subject::kernel(instruction) };
            let start = Start { rflags: start.rflags | 0x100, regs: tame(), ..start };
            let ended = guard::run(&start);
            let good = KNOWN.contains(&ended.vector);
            report.check(format_args!("{instruction:x?} user {user}: {ended:x?}"), good);
        }
        state::restore();
    }
    // Those that run to their end are stopped behind it, and once.
    for instruction in [
        &[0x0f, 0x20, 0xc0][..],
        &[0x0f, 0x22, 0xd8],
        &[0xfa],
        &[0xec],
        &[0xee],
        &[0x0f, 0x32],
        &[0x0f, 0x01, 0x3f],
        &[0x48, 0x89, 0x07],
        &[0x6c],
    ] {
        let regs = Regs { rax: memory::root(), rcx: 0xc000_0082, rdx: 0x80, rdi: DATA, ..Regs::default() };
        let start = subject::kernel(instruction);
        let ended = guard::run(&Start { rflags: 0x102, regs, ..start });
        let end = instruction.len() as u64;
        let good = ended.vector == 1 && ended.rip & 0xfff == end && ended.rflags & 0x100 != 0;
        report.check(format_args!("a step over {instruction:x?}: {ended:x?}"), good);
    }
}

fn page_edges(report: &mut Report) {
    let pages = [frame(), frame(), frame()];
    map(PLAY, pages[0] | RW);
    for instruction in system() {
        for split in 1..instruction.len() {
            let at = 0x1000 - split as u64;
            memory::place(pages[0] + at, &instruction[..split]);
            for second in [0, pages[1] | RW | NX, pages[2] | RW] {
                map(PLAY + 0x1000, second);
                memory::place(pages[2], &[0x0f, 0x0b, 0x0f, 0x0b]);
                let regs = Regs { rbp: PLAY + at, ..tame() };
                // jmp rbp
                let ended = exec(&[0xff, 0xe5], regs);
                // What stands before the edge may be an instruction by itself, and another one with what is behind it.
                // `int` finds its number there.
                let raised = instruction[0] == 0xcd && ended.vector == 0x0f;
                let good = KNOWN.contains(&ended.vector) || raised;
                report.check(format_args!("{instruction:x?} split at {split}: {ended:x?}"), good);
            }
        }
        state::restore();
    }
    // mov from CR0, byte by byte: the fault is that of the second page.
    for split in 1..3 {
        let at = 0x1000 - split;
        memory::place(pages[0] + at, &[0x0f, 0x20, 0xc0][..split as usize]);
        map(PLAY + 0x1000, pages[1] | RW | NX);
        let ended = exec(&[0xff, 0xe5], Regs { rbp: PLAY + at, ..tame() });
        let good = (ended.vector, ended.error, ended.rip) == (PAGE_FAULT, 0x11, PLAY + at);
        report.check(format_args!("mov from CR0 split at {split}: {ended:x?}"), good);
    }
}

/// The last page of the lower half, in a root of its own.
fn last_page(flags: u64) -> u64 {
    const LAST: u64 = (1 << 47) - 0x1000;
    let mut table = memory::copy_of_root();
    set_cr3(table);
    let root = table;
    for level in [4, 3, 2] {
        let next = frame();
        write(table + slot(LAST, level) * 8, next | RW | US);
        table = next;
    }
    let page = frame();
    write(table + slot(LAST, 1) * 8, page | flags);
    set_cr3(root);
    page
}

fn end_of_half(report: &mut Report) {
    const END: u64 = 1 << 47;
    for (user, flags) in [(false, RW), (true, RW | US)] {
        let page = last_page(flags);
        let begin = |bytes: u64| {
            if user {
                Start { rip: END - bytes, ..subject::user(&[]) }
            } else {
                Start { rip: END - bytes, ..subject::kernel(&[]) }
            }
        };
        for instruction in [
            &[0xfa][..],
            &[0xec],
            &[0x0f, 0x20, 0xc0],
            &[0x0f, 0x06],
            &[0x0f, 0x32],
            &[0x0f, 0xa2],
            &[0x0f, 0x31],
            &[0x90],
            &[0xcc],
            &[0xcd, 0x80],
            &[0x0f, 0x05],
            &[0x6e],
            &[0x0f, 0x01, 0x3f],
        ] {
            let bytes = instruction.len() as u64;
            memory::place(page + 0x1000 - bytes, instruction);
            let regs = Regs { rcx: 0xc000_0082, rdx: 0x80, rsi: DATA, rdi: DATA, ..Regs::default() };
            let ended = guard::run(&Start { regs, ..begin(bytes) });
            let known = [13, 14, 3, 0x80, 0x101].contains(&ended.vector);
            report.check(format_args!("{instruction:x?} user {user}: {ended:x?}"), known);
            // And with a step due.
            let start = begin(bytes);
            let ended = guard::run(&Start { regs, rflags: start.rflags | 0x100, ..start });
            let known = [1, 13, 14, 3, 0x80, 0x101].contains(&ended.vector);
            report.check(format_args!("{instruction:x?} user {user}, a step: {ended:x?}"), known);
        }
        // Half an instruction before the end.
        memory::place(page + 0xfff, &[0x0f]);
        let ended = guard::run(&begin(1));
        report.check(format_args!("half an instruction: {ended:x?}"), [13, 14].contains(&ended.vector));
    }
    for rip in [END, 1 << 63, 0xffff_7fff_ffff_ffff, 0x1234_5678_9abc_def0] {
        let ended = guard::run(&Start { rip, ..subject::kernel(&[]) });
        report.check(format_args!("iretq to {rip:#x}: {ended:x?}"), ended.vector == 13);
        let ended = guard::run(&Start { rip, ..subject::user(&[]) });
        report.check(format_args!("iretq to a program at {rip:#x}: {ended:x?}"), ended.vector == 13);
        // sysretq: on Intel's processors the kernel faults, on AMD's the program.
        let regs = Regs { rcx: rip, r11: 2, ..Regs::default() };
        let ended = exec(&[0x48, 0x0f, 0x07], regs);
        report.check(format_args!("sysretq to {rip:#x}: {ended:x?}"), ended.vector == 13);
        let ended = guard::run(&Start { rsp: rip, ..subject::kernel(&[0x50]) });
        // QEMU makes no difference between the stack and other memory there.
        let known: &[u64] = if rip == END { &[6] } else { &[12, 13] };
        report.check(format_args!("push at {rip:#x}: {ended:x?}"), known.contains(&ended.vector));
        let ended = guard::run(&Start { rsp: rip, ..subject::kernel(&[0x48, 0xcf]) });
        report.check(format_args!("iretq from {rip:#x}: {ended:x?}"), ended.vector == 12);
    }
}

fn others(report: &mut Report) {
    const OTHERS: [&[u8]; 34] = [
        &[0x0f, 0x01, 0xc1],
        &[0x0f, 0x01, 0xc2],
        &[0x0f, 0x01, 0xc3],
        &[0x0f, 0x01, 0xc4],
        &[0x0f, 0x01, 0xd4],
        &[0x0f, 0x01, 0xd8],
        &[0x0f, 0x01, 0xd9],
        &[0x0f, 0x01, 0xda],
        &[0x0f, 0x01, 0xdb],
        &[0x0f, 0x01, 0xdc],
        &[0x0f, 0x01, 0xdd],
        &[0x0f, 0x01, 0xde],
        &[0x0f, 0x01, 0xdf],
        &[0x0f, 0x01, 0xc8],
        &[0x0f, 0x01, 0xcf],
        &[0x0f, 0x01, 0xfa],
        &[0x0f, 0x78, 0xc0],
        &[0x0f, 0x79, 0xc0],
        &[0x66, 0x0f, 0x38, 0x80, 0x07],
        &[0x66, 0x0f, 0x38, 0x81, 0x07],
        &[0x66, 0x0f, 0x38, 0x82, 0x07],
        &[0x0f, 0x33],
        &[0x0f, 0x37],
        &[0x0f, 0x08],
        &[0x0f, 0x09],
        &[0xf3, 0x0f, 0x09],
        &[0x0f, 0xaa],
        &[0x0f, 0xc7, 0x37],
        &[0x66, 0x0f, 0xc7, 0x37],
        &[0x0f, 0xc7, 0x2f],
        &[0x0f, 0xc7, 0x1f],
        &[0x0f, 0xae, 0x27],
        &[0x0f, 0x24, 0xc0],
        &[0x0f, 0x01, 0xee],
    ];
    for code in OTHERS {
        for rax in [0, 1, u64::MAX] {
            let regs = Regs { rax, ..tame() };
            let ended = exec(code, regs);
            report.check(format_args!("{code:x?}: {ended:x?}"), KNOWN.contains(&ended.vector));
            let ended = exec_user(code, regs);
            report.check(format_args!("program {code:x?}: {ended:x?}"), KNOWN.contains(&ended.vector));
        }
    }
    // Hypervisors of another kind have nothing to say here.
    for code in [&[0x0f, 0x01, 0xc1][..], &[0x0f, 0x01, 0xd9]] {
        let ended = exec(code, tame());
        report.check(format_args!("{code:x?}: {ended:x?}"), ended.vector == 6 && ended.rip & 0xfff == 0);
    }
}

fn written(report: &mut Report) {
    // mov dword ptr [rip], imm over the instruction behind it, which is emulated: cli becomes ud2 or in.
    let code = [0xc7, 0x05, 0, 0, 0, 0, 0x0f, 0x20, 0xc0, 0x90, 0xfa, 0xfa, 0xfa, 0xfa];
    for _ in 0..20 {
        let ended = exec(&code, Regs::default());
        let good = whole(&ended, &code) && ended.regs.rax == state::CR0;
        report.check(format_args!("written before: {ended:x?}"), good);
    }
    // sidt over itself and over what follows; ins over itself: what was fetched is done.
    for (code, rdi) in [
        (&[0x0f, 0x01, 0x0f][..], subject::CODE),
        (&[0x0f, 0x01, 0x0f], subject::CODE + 3),
        (&[0x6c], subject::CODE),
        (&[0xf3, 0x6c], subject::CODE),
        (&[0x0f, 0x01, 0x07], subject::CODE + 1),
        (&[0x0f, 0x00, 0x0f], subject::CODE),
    ] {
        let ended = exec(code, Regs { rdi, rdx: 0x80, rcx: 4, ..Regs::default() });
        report.check(format_args!("{code:x?} at {rdi:#x}: {ended:x?}"), ended.vector < 0x104);
        subject::restore_all();
    }
}
