//! Ports and interrupts.

use pv_attack_logic::pc::ends_the_machine;
use pv_attack_logic::random::Random;

use crate::attacks::{Report, Row};
use crate::guard::{Regs, Start};
use crate::native::guard;
use crate::native::memory::{self, HYPERVISOR, NX, RW, entry_of, frame, map};
use crate::native::registers::{input, out};
use crate::native::state::{FIRST_IRQ, end_interrupt, quiet, start_ticks, start_timer};
use crate::native::subject::{self, DATA, NOTHING, PAGE_FAULT, PLAY, exec, whole};
use crate::native::{exit, serial, whole_run};

pub const ROWS: &[Row] = &[
    Row {
        name: "pc-ports-read",
        reason: "in from all 65,536 ports by every width: one is the machine's",
        run: ports_read,
    },
    Row {
        name: "pc-ports-written",
        reason: "out to all of them but those that end the machine, by every width",
        run: ports_written,
    },
    Row {
        name: "pc-port-strings",
        reason: "ins and outs with buffers that are unmapped, read-only, over an edge, a page table, the hypervisor's",
        run: strings,
    },
    Row {
        name: "pc-endless-string",
        reason: "rep outs of nearly all numbers there are: only an interrupt ends it",
        run: endless,
    },
    Row {
        name: "pc-timer-storm",
        reason: "the 8254 at its highest rate, served and not: no time is left for anybody else",
        run: storm,
    },
    Row {
        name: "pc-controller-modes",
        reason: "the 8259s in every mode, with vectors of exceptions, ended too often and too seldom",
        run: controllers,
    },
    Row {
        name: "pc-timer-modes",
        reason: "the 8254 in every mode with every way of counting and reading",
        run: timers,
    },
    Row {
        name: "pc-devices-garbage",
        reason: "random bytes to the clock's memory, the serial port and the controllers",
        run: garbage,
    },
];

/// The forms of `in` and `out`, two bytes each, and after how many ports the next is tried.
fn forms(input: bool) -> [([u8; 2], u8); 3] {
    let few = if whole_run() { 1 } else { 61 };
    let bit = if input { 0 } else { 2 };
    [([0xec | bit, 0x90], if input { 1 } else { few }), ([0x66, 0xed | bit], few), ([0xed | bit, 0x90], few)]
}

/// A loop over ports from EDX to below ECX.
fn over_ports(form: [u8; 2], step: u8) -> [u8; 9] {
    // the form; add edx, step; cmp edx, ecx; jb
    [form[0], form[1], 0x83, 0xc2, step, 0x39, 0xca, 0x72, 0xf7]
}

fn ports_read(report: &mut Report) {
    for (form, step) in forms(true) {
        for (from, to, step) in [(0, 0x1000, 1), (0x1000, 0x1_0000, step)] {
            let code = over_ports(form, step);
            let ended = exec(&code, Regs { rdx: from, rcx: to, ..Regs::default() });
            let good = whole(&ended, &code) && ended.regs.rdx >= to;
            report.check(format_args!("{form:x?} from {from:#x}: {ended:x?}"), good);
        }
    }
}

/// Runs of ports between those that end the machine.
fn ports_written(report: &mut Report) {
    let ends = |port: u64| ends_the_machine(port as u16, exit::port());
    for (form, step) in forms(false) {
        let mut from = 0;
        while from < 0x1_0000 {
            let end = (from..0x1_0000).find(|port| ends(*port)).unwrap_or(0x1_0000);
            // The low ports all, the others sampled.
            let code = over_ports(form, if from < 0xcf9 { 1 } else { step });
            if end > from {
                // New lines, where it is the console.
                let regs = Regs { rax: 0x0a0a_0a0a, rdx: from, rcx: end, ..Regs::default() };
                let ended = exec(&code, regs);
                report.check(format_args!("{form:x?} from {from:#x}: {ended:x?}"), whole(&ended, &code));
            }
            from = end + 1;
        }
    }
    serial::initialise();
}

fn strings(report: &mut Report) {
    map(PLAY, frame() | RW | NX);
    map(PLAY + 0x1000, 0);
    map(PLAY + 0x3000, frame() | 1 | NX);
    let l1 = entry_of(PLAY) & memory::ADDRESS;
    map(PLAY + 0x5000, l1 | RW | NX);
    let places = [
        (NOTHING, false, false),
        (PLAY + 0xffe, true, true),
        (PLAY + 0x3000, true, false),
        (PLAY + 0x5ff0, true, true),
        (1 << 47, false, false),
        (u64::MAX - 1, false, false),
        (HYPERVISOR, false, false),
        (HYPERVISOR | 0x8000_0000, false, false),
        (DATA, true, true),
    ];
    for (at, readable, writable) in places {
        for (code, good) in [
            (&[0x6c][..], writable),
            (&[0x6d], writable),
            (&[0x66, 0x6d], writable),
            (&[0xf3, 0x6c], writable),
            (&[0x6e], readable),
            (&[0x6f], readable),
            (&[0x66, 0x6f], readable),
            (&[0xf3, 0x6e], readable),
            (&[0xf2, 0x67, 0x6e], false),
        ] {
            let regs = Regs { rdi: at, rsi: at, rdx: 0x80, rcx: 2, ..Regs::default() };
            let ended = exec(code, regs);
            let fault = [PAGE_FAULT, 13, 12].contains(&ended.vector);
            // Four bytes end behind the edge of two.
            let crosses =
                at & 0xfff == 0xffe && code.iter().any(|byte| matches!(byte, 0x6d | 0x6f)) && code.len() == 1;
            let good = if good && !crosses { whole(&ended, code) } else { fault };
            report.check(format_args!("{code:x?} at {at:#x}: {ended:x?}"), good);
        }
    }
    (0x1fe..0x200).for_each(|word| memory::write(l1 + word * 8, 0));
}

fn endless(report: &mut Report) {
    for (code, rcx) in
        [(&[0xf3, 0x6e][..], u64::MAX), (&[0xf3, 0x6c], 1 << 63), (&[0xf3, 0x67, 0x6e], 0xffff_ffff)]
    {
        start_timer(2000);
        let regs =
            Regs { rcx, rdx: 0x80, rsi: memory::DIRECT, rdi: memory::DIRECT + frame(), ..Regs::default() };
        let start = subject::kernel(code);
        let ended = guard::run(&Start { rflags: 0x202, regs, ..start });
        end_interrupt();
        let good = ended.vector == FIRST_IRQ.into() && ended.rip & 0xfff == 0 && ended.regs.rcx != 0
            || [PAGE_FAULT, 13].contains(&ended.vector);
        report.check(format_args!("{code:x?}: {ended:x?}"), good);
        quiet();
    }
}

fn storm(report: &mut Report) {
    let wait = [0xf3, 0x90, 0xeb, 0xfc];
    let take = |report: &mut Report, what: &str| {
        let start = subject::user(&wait);
        let ended = guard::run(&start);
        report.check(format_args!("{what}: {ended:x?}"), ended.vector == FIRST_IRQ.into());
    };
    for counts in [2, 3, 1, 63] {
        start_ticks(counts);
        for _ in 0..200 {
            take(report, "an interrupt that is ended");
            end_interrupt();
        }
        // Not ended: none comes, and the kernel goes on.
        take(report, "the last that is ended");
        let ended = exec(&[0xfb, 0x90, 0x90, 0xfa], Regs::default());
        report.check(format_args!("not ended: {ended:x?}"), ended.vector == 6);
        end_interrupt();
        quiet();
    }
    // Ends by themselves.
    for value in [0x11, FIRST_IRQ, 4, 3] {
        out(if value == 0x11 { 0x20 } else { 0x21 }, value);
    }
    start_ticks(2);
    for _ in 0..200 {
        take(report, "an interrupt that ends itself");
    }
    quiet();
    // sti; nop and cli without anything between, for long.
    start_ticks(1);
    for _ in 0..100 {
        let ended = exec(&[0xfb, 0xfa, 0xfb, 0xfa, 0xfb, 0x90, 0xfa], Regs::default());
        report.check(
            format_args!("sti and cli: {ended:x?}"),
            [6, u64::from(FIRST_IRQ)].contains(&ended.vector),
        );
        end_interrupt();
    }
    quiet();
}

fn controllers(report: &mut Report) {
    let mut random = Random::new(0x8259);
    for first in 0x10..0x20 {
        for vector in [0, 8, 0x20, 0x82, 0xff] {
            for mode in [0, 1, 3, 0x13, 0xff] {
                for base in [0x20, 0xa0] {
                    [first, vector, random.next() as u8, mode].into_iter().enumerate().for_each(
                        |(index, value)| {
                            out(base + u16::from(index > 0), value);
                        },
                    );
                    out(base + 1, 0);
                }
                // No kernel asks for an interrupt in each of these ways and then takes it.
                let counts = 10;
                out(0x43, 0x30);
                out(0x40, counts);
                out(0x40, 0);
                let ended = exec(&[0xfb, 0x90, 0x90, 0x90, 0x90, 0xfa], Regs::default());
                report.check(
                    format_args!("{first:#x} {vector:#x} {mode:#x}: {ended:x?}"),
                    ended.vector < 0x100,
                );
                [0x20, 0x60 | random.next() as u8 & 7, 0xa0, 0x80, 0x68, 0x0c, 0x0a, 0x0b]
                    .into_iter()
                    .for_each(|word| {
                        out(0x20, word);
                        out(0xa0, word);
                    });
                [0x20, 0xa0, 0x21, 0xa1, 0x4d0, 0x4d1].into_iter().for_each(|port| _ = input(port));
            }
        }
    }
    quiet();
    // An end of what is not in service, of every line, again and again.
    for _ in 0..200 {
        out(0x20, 0x20);
        out(0xa0, 0x20);
        out(0x20, 0x60 | random.next() as u8 & 7);
    }
    quiet();
}

fn timers(report: &mut Report) {
    let mut random = Random::new(0x8254);
    for control in 0..=255_u8 {
        for _ in 0..3 {
            out(0x43, control);
            for _ in 0..random.below(4) {
                out(0x40 + random.below(3) as u16, random.sized() as u8);
            }
            out(0x61, random.next() as u8);
            let read: [u8; 6] = core::array::from_fn(|_| input(0x40 + random.below(4) as u16));
            let ended = exec(&[0xfb, 0x90, 0xfa], Regs::default());
            report
                .check(format_args!("{control:#x} {read:x?}: {ended:x?}"), [6, 0x20].contains(&ended.vector));
        }
    }
    quiet();
}

fn garbage(report: &mut Report) {
    let mut random = Random::new(0xde7);
    const PORTS: [u16; 18] = [
        0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40, 0x41, 0x42, 0x43, 0x61, 0x70, 0x71, 0x3f9, 0x3fa, 0x3fb,
        0x3fc, 0x3ff,
    ];
    for round in 0..4000 {
        let port = random.pick(&PORTS);
        let value = random.next() as u8;
        // DLAB takes the divisor's place: no byte goes to the console meanwhile.
        out(port, value);
        let read = input(random.pick(&PORTS));
        if round % 16 == 0 {
            let ended = exec(&[0xfb, 0x90, 0xfa], Regs::default());
            report.check(format_args!("{port:#x} {value:#x} {read:#x}: {ended:x?}"), ended.vector < 0x100);
        }
    }
    serial::initialise();
    quiet();
}
