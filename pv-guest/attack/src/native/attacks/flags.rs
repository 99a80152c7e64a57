//! Flags that no kernel sets, in every frame and by `popf`.

use crate::attacks::{Report, Row};
use crate::guard::{Regs, Start};
use crate::native::guard::{self, SYSCALL};
use crate::native::state;
use crate::native::subject;
use crate::native::whole_run;

pub const ROWS: &[Row] = &[
    Row {
        name: "pc-frame-flags",
        reason: "TF, NT, IOPL, RF, VM, AC, VIF, VIP and ID, alone and together, in frames to kernel and programs",
        run: frames,
    },
    Row {
        name: "pc-popf-flags",
        reason: "the same by popf: IOPL 3 opens the ports, IF off keeps the hypervisor's timer away",
        run: popped,
    },
    Row {
        name: "pc-privilege-level",
        reason: "programs with IOPL 3: in and out, cli and sti, and no more than that",
        run: privilege_level,
    },
    Row {
        name: "pc-no-interrupts",
        reason: "a program that runs for long with interrupts off: the hypervisor's own must come",
        run: no_interrupts,
    },
];

/// The flags, each by itself and all of them.
const FLAGS: [u64; 14] = [
    0,
    1 << 8,
    1 << 10,
    1 << 12,
    3 << 12,
    1 << 14,
    1 << 16,
    1 << 17,
    1 << 18,
    1 << 19,
    1 << 20,
    1 << 21,
    0x003f_7fd7 & !0x0002_0100,
    !0x0002_0000,
];

/// What is done with them: nothing, an exception, every way into the kernel.
const CODES: [&[u8]; 9] = [
    &[],
    &[0x9c, 0x58],
    &[0xcc],
    &[0xf1],
    &[0xcd, 0x80],
    &[0x0f, 0x05],
    &[0xec],
    &[0xfa, 0xfb],
    &[0x48, 0xcf],
];

const KNOWN: [u64; 12] = [1, 3, 6, 11, 12, 13, 14, 17, 0x80, SYSCALL, 0x20, 8];

fn frames(report: &mut Report) {
    let step = if whole_run() { 1 } else { 4 };
    for (index, flags) in FLAGS.into_iter().enumerate() {
        for other in FLAGS.into_iter().skip(index % step).step_by(step) {
            for code in CODES {
                // VM is heeded by QEMU in frames that outer rings load (docs/caveats.md).
                let rflags = (flags | other) & !(1 << 17) | 2;
                let regs = Regs { rdx: 0x80, ..Regs::default() };
                let kernel = Start { rflags: rflags & !0x200, regs, ..subject::kernel(code) };
                let ended = guard::run(&kernel);
                report
                    .check(format_args!("{rflags:#x} {code:x?}: {ended:x?}"), KNOWN.contains(&ended.vector));
                if code.is_empty() && rflags & 0x1_4100 == 0 {
                    let kept = rflags & 0x0024_3cd5;
                    let same = ended.rflags & 0x0024_3cd5 == kept;
                    report.check(format_args!("{rflags:#x} came back as {ended:x?}"), same);
                }
                let ended = guard::run(&Start { rflags: rflags | 0x200, regs, ..subject::user(code) });
                report.check(
                    format_args!("{rflags:#x} {code:x?}, program: {ended:x?}"),
                    KNOWN.contains(&ended.vector),
                );
            }
        }
    }
}

fn popped(report: &mut Report) {
    for flags in FLAGS {
        for code in [&[0x56, 0x9d][..], &[0x56, 0x66, 0x9d, 0x66, 0x58, 0x58], &[0x56, 0x9d, 0x9c, 0x58]] {
            let regs = Regs { rsi: flags & !0x200, ..Regs::default() };
            let ended = guard::run(&Start { regs, ..subject::kernel(code) });
            report.check(format_args!("{flags:#x} {code:x?}: {ended:x?}"), KNOWN.contains(&ended.vector));
            let ended = guard::run(&Start { regs, ..subject::user(code) });
            report.check(
                format_args!("{flags:#x} {code:x?}, program: {ended:x?}"),
                KNOWN.contains(&ended.vector),
            );
            let got = ended.vector != 6 || ended.rflags & 0x3000 == 0;
            report.check(format_args!("a program gave itself {:#x}", ended.rflags), got);
        }
    }
}

fn privilege_level(report: &mut Report) {
    for iopl in 0..4 {
        let run = |code: &[u8]| {
            let regs = Regs { rdx: 0x80, ..Regs::default() };
            guard::run(&Start { rflags: 0x202 | iopl << 12, regs, ..subject::user(code) })
        };
        for code in [&[0xec][..], &[0xee], &[0xed], &[0xfa], &[0xfb], &[0xe4, 0x80], &[0xe6, 0x80]] {
            let ended = run(code);
            let wanted = if iopl == 3 { 6 } else { 13 };
            report.check(format_args!("IOPL {iopl} {code:x?}: {ended:x?}"), ended.vector == wanted);
        }
        for code in [&[0xf4][..], &[0x0f, 0x20, 0xc0], &[0x0f, 0x32], &[0x0f, 0x01, 0x17], &[0x0f, 0x09]] {
            let ended = run(code);
            report.check(format_args!("IOPL {iopl} {code:x?}: {ended:x?}"), ended.vector == 13);
        }
    }
}

fn no_interrupts(report: &mut Report) {
    // cli; mov ecx, 0x2000000; dec ecx; jnz; sti; nop
    let code = [0xfa, 0xb9, 0, 0, 0, 2, 0xff, 0xc9, 0x75, 0xfc, 0xfb, 0x90];
    state::start_timer(100);
    let ended = guard::run(&Start { rflags: 0x3202, ..subject::user(&code) });
    state::end_interrupt();
    let good = ended.vector == state::FIRST_IRQ.into() && ended.regs.rcx == 0;
    report.check(format_args!("the timer came: {ended:x?}"), good);
}
