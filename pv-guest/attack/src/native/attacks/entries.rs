//! Every way into a kernel, and the hypervisor's own that are for others.

use crate::attacks::{Report, Row};
use crate::guard::{Regs, Start};
use crate::native::guard::{self, SYSCALL, SYSCALL32, SYSENTER};
use crate::native::memory::{self, ADDRESS, HYPERVISOR, RW, US, frame, read, slot, write};
use crate::native::registers::{msr, rdmsr, set_cr3, wrmsr};
use crate::native::state;
use crate::native::subject::{self, CODE, DATA, NOTHING, PAGE_FAULT, PROTECTION, exec, exec_user};
use crate::native::tables::{self, USER_CODE32};

pub const ROWS: &[Row] = &[
    Row {
        name: "pc-all-vectors",
        reason: "int n with every number by kernel and program: the hypervisor has gates for some of them",
        run: all_vectors,
    },
    Row {
        name: "pc-hypercalls",
        reason: "every hypercall by every instruction that makes one for others: a PC has none",
        run: hypercalls,
    },
    Row {
        name: "pc-system-calls",
        reason: "syscall, sysret, sysenter and sysexit with registers that are garbage, by kernel and program",
        run: system_calls,
    },
    Row {
        name: "pc-compatibility",
        reason: "32-bit programs: int, syscall, sysenter, far jumps, addresses that wrap at 4 GiB",
        run: compatibility,
    },
    Row { name: "pc-swapgs", reason: "swapgs by kernel and program, any number of times", run: swapgs },
];

fn all_vectors(report: &mut Report) {
    for vector in 0..=255_u8 {
        // Those with an error code of the processor's have none here: the stub's frame is one word off.
        let shifted = vector == 8 || (10..=14).contains(&vector) || vector == 17 || vector == 21;
        let ended = exec(&[0xcd, vector], Regs { rax: 17, ..Regs::default() });
        let at = if shifted { ended.error } else { ended.rip };
        let good = ended.vector == vector.into() && at == CODE + 2;
        report.check(format_args!("int {vector:#x}: {ended:x?}"), good);
        let allowed = matches!(vector, 3 | 4 | tables::SYSTEM_CALL | tables::FREE_VECTOR..);
        let ended = exec_user(&[0xcd, vector], Regs { rax: 17, ..Regs::default() });
        let good = if allowed {
            ended.vector == vector.into() && ended.rip & 0xfff == 2
        } else {
            // QEMU's error code is another (docs/caveats.md).
            ended.vector == PROTECTION && ended.rip & 0xfff == 0
        };
        report.check(format_args!("int {vector:#x} by a program: {ended:x?}"), good);
    }
}

fn hypercalls(report: &mut Report) {
    for number in 0..64 {
        for argument in [0, DATA, HYPERVISOR] {
            let regs =
                Regs { rax: number, rdi: argument, rsi: 1, rdx: 2, r10: argument, r8: 4, ..Regs::default() };
            for (code, vector) in [
                (&[0xcd, 0x82][..], 0x82),
                (&[0xcd, 0x80], 0x80),
                (&[0x0f, 0x05], SYSCALL),
                (&[0x0f, 0x01, 0xc1], 6),
                (&[0x0f, 0x01, 0xd9], 6),
            ] {
                let ended = exec(code, regs);
                let same = ended.regs.rax == number && ended.regs.rdi == argument;
                report.check(
                    format_args!("call {number} by {code:x?}: {ended:x?}"),
                    ended.vector == vector && same,
                );
                let ended = exec_user(code, regs);
                let vector = if vector == 0x82 { PROTECTION } else { vector };
                let same = ended.regs.rax == number && ended.regs.rdi == argument;
                report.check(
                    format_args!("call {number}, program, {code:x?}: {ended:x?}"),
                    ended.vector == vector && same,
                );
            }
        }
    }
    // Xen's prefix for its CPUID, and its leaves.
    let ended =
        exec(&[0x0f, 0x0b, b'x', b'e', b'n', 0x0f, 0xa2], Regs { rax: 0x4000_0000, ..Regs::default() });
    report.check(format_args!("the forced prefix: {ended:x?}"), ended.vector == 6 && ended.rip == CODE);
}

/// Garbage for STAR.
const STARS: [u64; 6] =
    [0, u64::MAX, 0x0008_0008 << 32, 0xe069_e069 << 32, 0xe008_e008 << 32, 0x0023_0003 << 32];

fn system_calls(report: &mut Report) {
    for star in STARS {
        wrmsr(msr::STAR, star);
        for code in [&[0x0f, 0x05][..], &[0x0f, 0x34]] {
            for ended in [exec(code, Regs::default()), exec_user(code, Regs::default())] {
                let known = [6, SYSCALL, SYSENTER, PROTECTION].contains(&ended.vector);
                report.check(format_args!("{star:#x} {code:x?}: {ended:x?}"), known);
            }
        }
        for code in [&[0x48, 0x0f, 0x07][..], &[0x0f, 0x07]] {
            for rcx in [subject::user(&[]).rip, NOTHING, HYPERVISOR, 0, u64::MAX] {
                let ended = exec(code, Regs { rcx, r11: 0x202, ..Regs::default() });
                let known = [6, PROTECTION, PAGE_FAULT].contains(&ended.vector);
                report.check(format_args!("{star:#x} {code:x?} {rcx:#x}: {ended:x?}"), known);
            }
        }
    }
    state::restore();
    for target in [NOTHING, HYPERVISOR, HYPERVISOR | 0x8000_0000, 0, u64::MAX] {
        wrmsr(msr::LSTAR, target);
        let ended = exec_user(&[0x0f, 0x05], Regs::default());
        let good = ended.vector == PAGE_FAULT && ended.rip == target && ended.cs & 3 == 0;
        report.check(format_args!("LSTAR {target:#x}: {ended:x?}"), good);
        wrmsr(msr::SYSENTER_EIP, target);
        wrmsr(msr::SYSENTER_ESP, target);
        let ended = exec_user(&[0x0f, 0x34], Regs::default());
        report
            .check(format_args!("sysenter to {target:#x}: {ended:x?}"), [6, 13, 14].contains(&ended.vector));
    }
    state::restore();
    for cs in [0, 3, 8, 0x0b, 0x23, 0xfff8, 0xe008, u64::MAX] {
        wrmsr(msr::SYSENTER_CS, cs);
        for code in [&[0x0f, 0x34][..], &[0x0f, 0x35], &[0x48, 0x0f, 0x35]] {
            let regs = Regs { rcx: subject::user(&[]).rsp, rdx: subject::user(&[]).rip, ..Regs::default() };
            for ended in [exec(code, regs), exec_user(code, regs)] {
                let known = [6, 13, 14, SYSENTER].contains(&ended.vector);
                report.check(format_args!("{cs:#x} {code:x?}: {ended:x?}"), known);
            }
        }
    }
    state::restore();
    // Every flag is masked, or none.
    for mask in [0, u64::MAX >> 32] {
        wrmsr(msr::SFMASK, mask);
        let start = subject::user(&[0x0f, 0x05]);
        let ended = guard::run(&Start { rflags: 0x0024_0ed7, ..start });
        report.check(format_args!("SFMASK {mask:#x}: {ended:x?}"), ended.vector == SYSCALL);
    }
}

fn compatibility(report: &mut Report) {
    // The programs' code below 4 GiB, in a root of its own: the last page of the four, too.
    let root = memory::copy_of_root();
    let pages = [frame(), frame()];
    for (page, va) in pages.into_iter().zip([0x40_0000_u64, 0xffff_f000]) {
        let mut table = root;
        for level in [4, 3, 2] {
            let place = table + slot(va, level) * 8;
            if read(place) == 0 {
                write(place, frame() | RW | US);
            }
            table = read(place) & ADDRESS;
        }
        write(table + slot(va, 1) * 8, page | RW | US);
    }
    set_cr3(root);
    let known = [0, 1, 3, 4, 5, 6, 11, 12, 13, 14, 0x80, SYSCALL, SYSCALL32, SYSENTER];
    for (page, va) in pages.into_iter().zip([0x40_0000_u64, 0xffff_f000]) {
        for code in [
            &[0xcd, 0x80][..],
            &[0x0f, 0x05],
            &[0x0f, 0x34],
            &[0xcc],
            &[0xce],
            &[0xec],
            &[0xfa],
            &[0x0f, 0x01, 0x0d, 0, 0, 0x40, 0],
            &[0xa1, 0, 0, 0x40, 0],
            &[0xea, 0, 0, 0x40, 0, 0x08, 0],
            &[0xea, 0x20, 0, 0x40, 0, 0x23, 0],
            &[0x9a, 0, 0, 0x40, 0, 0x0b, 0],
            &[0x6e],
            &[0xf3, 0x6e],
            &[0x1f],
            &[0x17],
            &[0x0f, 0xa2],
            &[0xcf],
            &[0x66, 0xcf],
            &[0xc4, 0x05, 0, 0, 0x40, 0],
            &[0x62, 0x05, 0, 0, 0x40, 0],
            &[0xd4, 0x00],
            &[0x0f, 0x20, 0xc0],
        ] {
            let end = if va == 0xffff_f000 { 0x1000 - code.len() as u64 } else { 0x20 };
            memory::place(page + end, code);
            if end == 0x20 {
                memory::place(page + end + code.len() as u64, &[0x0f, 0x0b, 0x0f, 0x0b]);
            }
            for cs in [USER_CODE32, tables::USER_CODE] {
                let start = Start { rip: va + end, cs: cs.into(), rsp: 0x40_0f00, ..subject::user(&[]) };
                let regs = Regs { rsi: 0x40_0000, rcx: 3, rdx: 0x80, ..Regs::default() };
                let ended = guard::run(&Start { regs, ..start });
                report.check(
                    format_args!("{code:x?} at {va:#x} by {cs:#x}: {ended:x?}"),
                    known.contains(&ended.vector),
                );
            }
        }
        // 16-bit code, with bases and limits of any kind.
        for raw in
            [0x0000_fb00_0000_ffff_u64, 0x40cf_fb40_0000_ffff, 0xffcf_fbff_ffff_ffff, 0x0040_fb00_0000_0fff]
        {
            tables::set_descriptor(tables::FREE, raw);
            let cs = u64::from(tables::FREE | 3);
            for rip in [0, 0x20, 0xfff, 0xffff, 0x40_0020, 0xffff_ffff] {
                let ended = guard::run(&Start { rip, cs, rsp: 0x40_0f00, ..subject::user(&[]) });
                report.check(format_args!("{raw:#x} at {rip:#x}: {ended:x?}"), known.contains(&ended.vector));
            }
        }
    }
}

fn swapgs(report: &mut Report) {
    let code = [0x0f, 0x01, 0xf8];
    for value in [0, 0x1234_5000, HYPERVISOR] {
        wrmsr(msr::GS_BASE, value);
        wrmsr(msr::KERNEL_GS_BASE, 0x7000);
        let ended = exec(&code, Regs::default());
        let swapped = rdmsr(msr::KERNEL_GS_BASE) == value;
        report.check(format_args!("swapgs of {value:#x}: {ended:x?}"), ended.vector == 6 && swapped);
        let ended = exec_user(&code, Regs::default());
        report.check(format_args!("swapgs by a program: {ended:x?}"), ended.vector == PROTECTION);
    }
}
