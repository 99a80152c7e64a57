//! Control, debug and model-specific registers.

use crate::attacks::{Report, Row};
use crate::guard::{Regs, Start};
use crate::native::guard;
use crate::native::memory::{self, HYPERVISOR};
use crate::native::registers::{cr0, cr4, msr, set_cr0, set_cr3, set_cr4, set_dr7};
use crate::native::state;
use crate::native::subject::{self, CODE, DATA, PROTECTION, exec, exec_user, operand, whole};
use crate::native::whole_run;

pub const ROWS: &[Row] = &[
    Row {
        name: "pc-control-registers",
        reason: "every register, every single bit: one that the real register gets",
        run: control,
    },
    Row {
        name: "pc-root-addresses",
        reason: "CR3 with every bit that is no address, and with addresses that are no memory",
        run: roots,
    },
    Row {
        name: "pc-debug-registers",
        reason: "breakpoints on the hypervisor's code and data, every bit of DR6 and DR7",
        run: debug,
    },
    Row {
        name: "pc-breakpoints",
        reason: "breakpoints on emulated instructions and on what they read and write",
        run: breakpoints,
    },
    Row {
        name: "pc-msrs-read",
        reason: "every model-specific register of the usual ranges: one of the machine's is told",
        run: msrs_read,
    },
    Row {
        name: "pc-msrs-written",
        reason: "the same written with values at every edge: one of the machine's is changed",
        run: msrs_written,
    },
    Row {
        name: "pc-bases",
        reason: "bases that are not canonical, by every way to set one: the real processor would fault in the hypervisor",
        run: bases,
    },
    Row { name: "pc-extended-state", reason: "xsetbv with every bit, xgetbv of every number", run: extended },
];

fn write_cr(number: u8, rax: u64) -> guard::Ended {
    let code: &[u8] = if number == 8 { &[0x44, 0x0f, 0x22, 0xc0] } else { &[0x0f, 0x22, 0xc0 | number << 3] };
    exec(code, Regs { rax, ..Regs::default() })
}

fn control(report: &mut Report) {
    for bit in 0..64 {
        let (old0, old4) = (cr0(), cr4());
        let ended = write_cr(0, old0 ^ 1 << bit);
        set_cr0(old0);
        let must_fail = bit >= 32 || bit == 0 || bit == 31 || bit == 29;
        let good = if must_fail { ended.vector == PROTECTION } else { [6, 13].contains(&ended.vector) };
        report.check(format_args!("CR0 bit {bit}: {ended:x?}"), good);
        // PAE cannot be left, nor can a bit be set that there is not. PCIDs need CR3's low bits to be 0, as they are.
        let ended = write_cr(4, old4 ^ 1 << bit);
        set_cr4(old4);
        let must_fail = bit >= 32 || bit == 5 || bit == 12;
        let good = if must_fail { ended.vector == PROTECTION } else { [6, 13].contains(&ended.vector) };
        report.check(format_args!("CR4 bit {bit}: {ended:x?}"), good);
        let ended = write_cr(8, 1 << bit);
        let good = if bit < 4 { ended.vector == 6 } else { ended.vector == PROTECTION };
        report.check(format_args!("CR8 bit {bit}: {ended:x?}"), good);
        let ended = write_cr(2, 1 << bit);
        report.check(format_args!("CR2 bit {bit}: {ended:x?}"), ended.vector == 6);
    }
    state::restore();
    // Registers that there are not: #UD, or what ring 1 gets for trying (docs/caveats.md).
    for number in [1, 5, 6, 7] {
        for code in [[0x0f, 0x22, 0xc0 | number << 3], [0x0f, 0x20, 0xc0 | number << 3]] {
            let ended = exec(&code, Regs::default());
            let refused = [6, 13].contains(&ended.vector) && ended.rip == CODE;
            report.check(format_args!("CR{number}: {ended:x?}"), refused);
        }
    }
    for number in 0..16_u8 {
        let rex = 0x40 | (number >> 3) << 2;
        for opcode in 0x20..=0x23 {
            let ended = exec_user(&[rex, 0x0f, opcode, 0xc0 | (number & 7) << 3], Regs::default());
            report.check(
                format_args!("program, {opcode:#x} {number}: {ended:x?}"),
                [6, 13].contains(&ended.vector),
            );
        }
    }
    // lmsw, smsw, clts.
    for rax in [0, 1, 0xffff, 0xfff0] {
        let ended = exec(&[0x0f, 0x01, 0xf0, 0x0f, 0x01, 0xe3, 0x0f, 0x06], Regs { rax, ..Regs::default() });
        report.check(format_args!("lmsw {rax:#x}: {ended:x?}"), ended.vector == 6 && ended.regs.rbx & 1 == 1);
    }
}

fn roots(report: &mut Report) {
    let root = memory::root();
    for bit in 0..64 {
        if (12..40).contains(&bit) {
            continue;
        }
        let ended = write_cr(3, root | 1 << bit);
        let good = match bit {
            ..40 => ended.vector == 6,
            40..52 => ended.vector == PROTECTION,
            _ => [6, PROTECTION].contains(&ended.vector),
        };
        report.check(format_args!("CR3 bit {bit}: {ended:x?}"), good);
        set_cr3(root);
    }
}

fn debug(report: &mut Report) {
    let write = |number: u8, rax: u64| {
        let ended = exec(&[0x0f, 0x23, 0xc0 | number << 3], Regs { rax, ..Regs::default() });
        set_dr7(0x400);
        ended
    };
    for number in 0..8 {
        for bit in 0..64 {
            // DR7's general detection stops the next instruction that looks, which is this kernel's own.
            if number == 7 && bit == 13 && !crate::native::trapped() {
                continue;
            }
            let ended = write(number, 1 << bit);
            report
                .check(format_args!("DR{number} bit {bit}: {ended:x?}"), [6, 13, 1].contains(&ended.vector));
        }
    }
    for address in [HYPERVISOR, HYPERVISOR | 0x8000_0000, 0xffff_87ff_ffff_ffff, u64::MAX, 1 << 47, 0] {
        for number in 0..4 {
            let ended = write(number, address);
            report
                .check(format_args!("DR{number} {address:#x}: {ended:x?}"), [6, 13].contains(&ended.vector));
        }
    }
    // Enabled, of every kind, on the hypervisor's side.
    for kind in 0..16_u64 {
        exec(&[0x0f, 0x23, 0xc0], Regs { rax: HYPERVISOR | 0x8000_0000, ..Regs::default() });
        let ended = write(7, 0x403 | kind << 16);
        report.check(format_args!("kind {kind}: {ended:x?}"), [6, 13].contains(&ended.vector));
    }
}

fn breakpoints(report: &mut Report) {
    // mov rax, cr0; mov cr0, rax; cli; pushfq; pop rcx; in al, dx; lidt/lgdt/sidt would change tables: sidt [rdi]
    let code = [0x0f, 0x20, 0xc0, 0x0f, 0x22, 0xc0, 0xfa, 0x9c, 0x59, 0xec, 0x0f, 0x01, 0x0f];
    let regs = Regs { rdx: 0x80, ..operand(&[0; 16]) };
    for offset in 0..code.len() as u64 {
        for kind in [0, 1, 3, 0xd] {
            let place = if kind == 0 { CODE + offset } else { DATA + offset };
            set_breakpoint(place, kind);
            let ended = exec(&code, regs);
            set_dr7(0x400);
            let known = [1, 6].contains(&ended.vector);
            report.check(format_args!("a breakpoint at {place:#x}, kind {kind}: {ended:x?}"), known);
            // With RF the instruction at which it stands is let through, if it is the first.
            set_breakpoint(place, kind);
            let ended = guard::run(&Start { rflags: 0x1_0002, regs, ..subject::kernel(&code) });
            set_dr7(0x400);
            let good = ended.vector == 6 || ended.vector == 1 && (offset, kind) != (0, 0);
            report.check(format_args!("with RF, at {place:#x}, kind {kind}: {ended:x?}"), good);
        }
    }
}

fn set_breakpoint(address: u64, kind: u64) {
    exec(&[0x0f, 0x23, 0xc0], Regs { rax: address, ..Regs::default() });
    set_dr7(0x403 | kind << 16);
}

/// The ranges that have registers on some processor, and those of hypervisors.
fn indices() -> impl Iterator<Item = u64> {
    let most = if whole_run() { 0x2000 } else { 0x300 };
    [
        (0, most),
        (0xc000_0080, 0xc000_0110),
        (0xc000_0000, 0xc000_0000 + most / 4),
        (0xc001_0000, 0xc001_0000 + most / 4),
        (0x4000_0000, 0x4000_0010),
    ]
    .into_iter()
    .flat_map(|(from, to)| from..to)
}

fn msrs_read(report: &mut Report) {
    for index in indices() {
        let ended = exec(&[0x0f, 0x32], Regs { rcx: index, ..Regs::default() });
        let good = whole(&ended, &[0; 2]) || (ended.vector, ended.error) == (PROTECTION, 0);
        report.check(format_args!("rdmsr {index:#x}: {ended:x?}"), good);
    }
    let ended = exec_user(&[0x0f, 0x32], Regs { rcx: msr::LSTAR.into(), ..Regs::default() });
    report.check(format_args!("rdmsr by a program: {ended:x?}"), ended.vector == PROTECTION);
}

/// Values at the edges of what registers take.
const EDGES: [u64; 10] = [
    0,
    1,
    u64::MAX,
    0x7fff_ffff_ffff,
    1 << 47,
    HYPERVISOR,
    0xffff_7fff_ffff_ffff,
    0x0606_0606_0606_0606,
    0xd01,
    1 << 63,
];

fn msrs_written(report: &mut Report) {
    for index in indices() {
        let exists = exec(&[0x0f, 0x32], Regs { rcx: index, ..Regs::default() }).vector == 6;
        // One value for those that there are not.
        for value in EDGES.iter().take(if exists { EDGES.len() } else { 1 }) {
            // EFER without NXE would take the kernel's stacks away, and with bits that there are not is refused.
            let regs = Regs { rcx: index, rax: *value, rdx: value >> 32, ..Regs::default() };
            let ended = exec(&[0x0f, 0x30], regs);
            let good = whole(&ended, &[0; 2]) || (ended.vector, ended.error) == (PROTECTION, 0);
            report.check(format_args!("wrmsr {index:#x} {value:#x}: {ended:x?}"), good);
        }
        if exists {
            state::restore();
        }
    }
}

fn bases(report: &mut Report) {
    let bad = [1 << 47, 1 << 63, 0x1234_5678_9abc_def0, 0xffff_7fff_ffff_ffff];
    let registers = [msr::FS_BASE, msr::GS_BASE, msr::KERNEL_GS_BASE, msr::LSTAR, msr::CSTAR];
    let sysenter = [msr::SYSENTER_ESP, msr::SYSENTER_EIP];
    for value in bad {
        for index in registers.into_iter().chain(sysenter.into_iter().filter(|_| crate::native::trapped())) {
            let regs = Regs { rcx: index.into(), rax: value, rdx: value >> 32, ..Regs::default() };
            let ended = exec(&[0x0f, 0x30], regs);
            report.check(
                format_args!("{index:#x} {value:#x}: {ended:x?}"),
                (ended.vector, ended.error) == (13, 0),
            );
        }
        set_cr4(state::CR4 | 1 << 16);
        for operation in [0xd0, 0xd8] {
            // QEMU takes any (docs/caveats.md).
            let code = [0xf3, 0x48, 0x0f, 0xae, operation];
            let regs = Regs { rax: value, ..Regs::default() };
            for ended in [exec(&code, regs), exec_user(&code, regs)] {
                report.check(format_args!("wr*base {value:#x}: {ended:x?}"), [6, 13].contains(&ended.vector));
            }
            state::restore();
            set_cr4(state::CR4 | 1 << 16);
        }
        set_cr4(state::CR4);
    }
    // Those that are canonical and lead to the hypervisor: read through, they fault as the guest.
    for value in [HYPERVISOR, HYPERVISOR | 0x8000_0000] {
        for (index, prefix) in [(msr::FS_BASE, 0x64), (msr::GS_BASE, 0x65)] {
            let regs = Regs { rcx: index.into(), rax: value, rdx: value >> 32, ..Regs::default() };
            // mov rbx, fs:[rdi]
            let ended = exec(&[0x0f, 0x30, prefix, 0x48, 0x8b, 0x1f], regs);
            report.check(format_args!("by base {value:#x}: {ended:x?}"), ended.vector == 14);
            // swapgs twice, and lidt through it.
            let ended =
                exec(&[0x0f, 0x30, 0x0f, 0x01, 0xf8, 0x0f, 0x01, 0xf8, prefix, 0x0f, 0x01, 0x1f], regs);
            report.check(format_args!("lidt by base {value:#x}: {ended:x?}"), ended.vector == 14);
        }
    }
    state::restore();
}

fn extended(report: &mut Report) {
    set_cr4(state::CR4 | 1 << 18);
    for bit in 0..64 {
        for base in [0, 1, 3, 7] {
            let value: u64 = base ^ 1 << bit;
            let regs = Regs { rax: value & 0xffff_ffff, rdx: value >> 32, ..Regs::default() };
            let ended = exec(&[0x0f, 0x01, 0xd1], regs);
            report.check(format_args!("XCR0 {value:#x}: {ended:x?}"), [6, 13].contains(&ended.vector));
        }
        let ended = exec(&[0x0f, 0x01, 0xd0], Regs { rcx: bit, ..Regs::default() });
        report.check(format_args!("XCR{bit}: {ended:x?}"), [6, 13].contains(&ended.vector));
    }
    let ended = exec_user(&[0x0f, 0x01, 0xd1], Regs { rax: 1, ..Regs::default() });
    report.check(format_args!("xsetbv by a program: {ended:x?}"), [6, 13].contains(&ended.vector));
    exec(&[0x0f, 0x01, 0xd1], Regs { rax: 1, ..Regs::default() });
}
