//! `syscall`, `sysenter` and `int n` from where they were not meant to come.

use paravane_abi::callback::{
    CALLBACKOP_REGISTER, CALLBACKTYPE_SYSCALL, CALLBACKTYPE_SYSCALL32, CALLBACKTYPE_SYSENTER,
    CallbackRegister,
};
use paravane_abi::hypercall as nr;

use super::subject;
use super::{Report, Row};
use crate::guard::{self, Start};
use crate::hypercall::operation;
use crate::memory::{FIRST_HIGH, LAST_LOW, PAGE, USER_CODE, USER_STACK};
use crate::ring::{self, Half};

const SYSCALL: [u8; 2] = [0x0f, 0x05];
const SYSENTER: [u8; 2] = [0x0f, 0x34];

/// See the module.
pub const ROWS: &[Row] = &[
    Row {
        name: "syscall-beside-the-hypervisor",
        reason: "a hypervisor that tells a hypercall from a system call by its return address would take a program at the border for a kernel",
        run: beside,
    },
    Row {
        name: "syscall-not-canonical-return",
        reason: "a sysret or iretq to the address behind the last one faults in ring 0 with the guest's stack",
        run: not_canonical,
    },
    Row {
        name: "syscall-from-ring-1",
        reason: "the kernel's own syscall is no hypercall: it enters the callback",
        run: from_ring_1,
    },
    Row {
        name: "syscall-compatibility",
        reason: "a 32-bit syscall enters at CSTAR, with half of the registers",
        run: compatibility,
    },
    Row {
        name: "sysenter",
        reason: "sysenter with a stale SYSENTER_CS is an entry that nobody wrote, on a stack of whoever set it (XSA-339)",
        run: sysenter,
    },
    Row {
        name: "syscall-no-callback",
        reason: "a syscall with no callback, or with one in the hypervisor's range, has no place to go",
        run: no_callback,
    },
    Row {
        name: "int-all-vectors",
        reason: "a gate that ring 3 or ring 1 may use by `int n` and that leads to a device's or the processor's handler",
        run: all_vectors,
    },
    Row {
        name: "int-0x82",
        reason: "a gate for kernels in ring 1 that another domain's kernel, or a program, uses by its number",
        run: gate_of_ring_1,
    },
    Row {
        name: "far-transfers",
        reason: "far calls, jumps and returns to the hypervisor's selectors",
        run: far_transfers,
    },
];

fn beside(report: &mut Report) {
    // The last bytes of the lower half, and the first and last of the page above the reserved range.
    for (page, offset) in [(LAST_LOW, PAGE - 2), (FIRST_HIGH, 0), (FIRST_HIGH, PAGE - 2), (LAST_LOW, 0)] {
        // SAFETY: pages for programs, mapped writable.
        unsafe { ((page + offset) as *mut [u8; 2]).write_volatile(SYSCALL) };
        for rax in [0, 17, 23, 13, 0x82] {
            let mut start = Start::user(page + offset, USER_STACK - 64);
            start.regs.rax = rax;
            let end = guard::run(&start);
            let expected =
                end.vector == guard::SYSCALL && end.rip == page + offset + 2 && end.regs.rax == rax;
            report.check(
                format_args!("at {:#x}: vector {:#x} at {:#x}", page + offset, end.vector, end.rip),
                expected,
            );
        }
    }
}

fn not_canonical(report: &mut Report) {
    // SAFETY: as above.
    unsafe { ((LAST_LOW + PAGE - 2) as *mut [u8; 2]).write_volatile(SYSCALL) };
    let end = guard::run(&Start::user(LAST_LOW + PAGE - 2, USER_STACK - 64));
    report.check(format_args!("RCX is {:#x}", end.rip), end.rip == 1 << 47);
    // Back to where it came from, by the kernel's own iretq where it has one, and by the hypercall.
    let end = guard::run(&Start::user(1 << 47, USER_STACK - 64));
    report.check(format_args!("iretq: vector {:#x}", end.vector), end.vector == 13 || end.vector == 14);
    let start = subject::iret([1 << 47, 0xe033, 0x202, USER_STACK - 64, 0xe02b]);
    let end = guard::run(&start);
    report.check(format_args!("hypercall: vector {:#x}", end.vector), end.vector == 13);
}

fn from_ring_1(report: &mut Report) {
    for rax in [0, 13, 17, 23, 24, 29, u64::MAX] {
        let mut start = subject::kernel(&SYSCALL);
        start.regs.rax = rax;
        let end = guard::run(&start);
        report.check(
            format_args!("RAX {rax}: vector {:#x}, RAX {:#x}", end.vector, end.regs.rax),
            end.vector == guard::SYSCALL && end.regs.rax == rax,
        );
    }
}

fn register(kind: u16, address: u64) -> i64 {
    let mut request = CallbackRegister::new(kind, 0, address);
    operation(nr::HYPERVISOR_CALLBACK_OP, CALLBACKOP_REGISTER, &mut request)
}

fn compatibility(report: &mut Report) {
    for rsp in [USER_STACK - 64, 0, 0xffff_fff0, 0x1234_5678_9abc_def0] {
        let mut start = subject::user32(&SYSCALL);
        start.rsp = rsp;
        start.regs.rax = 0xdead_beef_0000_0017;
        let end = guard::run(&start);
        report.check(
            format_args!("vector {:#x} at {:#x}", end.vector, end.rip),
            end.vector == guard::SYSCALL32 || end.vector == 6,
        );
        report.check(format_args!("CS {:#x}", end.cs), end.cs & 0xffff == 0xe023);
    }
    report.result("taking the callback out", register(CALLBACKTYPE_SYSCALL32, 0), 0);
    let end = guard::run(&subject::user32(&SYSCALL));
    report.check(format_args!("without one: vector {:#x} at {:#x}", end.vector, end.rip), end.vector == 6);
    report.check(format_args!("RIP {:#x} is behind it", end.rip), end.rip == USER_CODE);
}

/// Also what XSA-339 was about: one exception for one instruction.
pub fn sysenter(report: &mut Report) {
    for address in [0, guard::stub(0, 6)] {
        report.result("the callback", register(CALLBACKTYPE_SYSENTER, address), 0);
        for mut start in [subject::user(&SYSENTER), subject::user32(&SYSENTER), subject::kernel(&SYSENTER)] {
            start.regs.rcx = 0xffff_8080_0002_0800;
            start.regs.rdx = 0xffff_8080_0001_2000;
            let before = crate::hypercall::counters();
            let end = guard::run(&start);
            let after = crate::hypercall::counters();
            report.check(
                format_args!("CS {:#x}: vector {:#x} at {:#x}", start.cs, end.vector, end.rip),
                matches!(end.vector, 6 | 13) && end.error == 0 && end.rip == start.rip,
            );
            let Some((before, after)) = before.zip(after) else { continue };
            let injected = after.since(&before).traps_bounced;
            report.check(format_args!("CS {:#x}: {injected} exceptions injected", start.cs), injected == 1);
        }
    }
    for code in [&[0x0f, 0x35][..], &[0x48, 0x0f, 0x35], &[0x0f, 0x07], &[0x48, 0x0f, 0x07]] {
        for start in [subject::user(code), subject::kernel(code)] {
            let end = guard::run(&start);
            report.check(format_args!("{code:x?}: vector {:#x}", end.vector), matches!(end.vector, 6 | 13));
        }
    }
}

fn no_callback(report: &mut Report) {
    report.refused("a callback that is not canonical", register(CALLBACKTYPE_SYSCALL, 1 << 47));
    report.result("no callback", register(CALLBACKTYPE_SYSCALL, 0), 0);
    // In ring 3 the kernel's is a hypercall.
    let kernel = (!ring::is_3()).then(|| subject::kernel(&SYSCALL));
    for code in [subject::user(&SYSCALL)].into_iter().chain(kernel) {
        let end = guard::run(&code);
        report.check(
            format_args!("vector {:#x} at {:#x}", end.vector, end.rip),
            end.vector == 6 && end.rip == code.rip,
        );
    }
    for address in super::address::HYPERVISOR {
        report.result("a callback in the hypervisor's range", register(CALLBACKTYPE_SYSCALL, address), 0);
        if ring::is_3() {
            // There such a callback ends the domain: syscall-into-hypervisor.
            continue;
        }
        let end = guard::run(&subject::user(&SYSCALL));
        // The fetch or the first privileged instruction there faults, in ring 1.
        report.check(format_args!("{address:#x}: vector {:#x}", end.vector), end.vector < 32);
    }
}

fn all_vectors(report: &mut Report) {
    for vector in 0..=255u8 {
        for mut start in [subject::kernel(&[0xcd, vector]), subject::user(&[0xcd, vector])] {
            let half = Half::of(start.cs);
            start.regs.rax = 17;
            let end = guard::run(&start);
            let wanted = match (vector, half) {
                (3, _) => end.vector == 3,
                (4, _) => end.vector == 4,
                (0x80, Half::Program) => end.vector == guard::INT80,
                // The trap table's entry has DPL 3, so a kernel may use it too, through the hypervisor or the gate.
                (0x80, _) => end.half() == Half::Kernel,
                (0x82, Half::Kernel) if !ring::is_3() => end.vector == 3 && end.regs.rax == 4 << 16 | 17,
                _ => end.vector == 13 && end.error == u64::from(vector) << 3 | 2 && end.rip == start.rip,
            };
            report.check(
                format_args!("int {vector:#x}, {half:?}: {:#x}, error {:#x}", end.vector, end.error),
                wanted,
            );
        }
    }
}

fn gate_of_ring_1(report: &mut Report) {
    for rax in [0, 17, 23, 13, 29, u64::MAX] {
        for mut start in [subject::kernel(&[0xcd, 0x82]), subject::user(&[0xcd, 0x82])] {
            start.regs.rax = rax;
            let end = guard::run(&start);
            report.check(
                format_args!("RAX {rax}: vector {:#x}, RAX {:#x}", end.vector, end.regs.rax),
                end.vector == 13 && end.regs.rax == rax && end.rip == start.rip,
            );
        }
    }
}

fn far_transfers(report: &mut Report) {
    // A pointer of ten bytes at RDI: 64-bit offset, selector. REX.W FF /5 is jmp far, /3 call far; 48 CB is retfq.
    for selector in [0xe008u16, 0xe010, 0xe040, 0xe048, 0xe069, 0xe033, 0xe023, 0x0008, 0x0004, 0] {
        for rpl in 0..4 {
            for half in [Half::Kernel, Half::Program] {
                for code in [&[0x48, 0xff, 0x2f][..], &[0x48, 0xff, 0x1f], &[0x48, 0xcb], &[0xcf]] {
                    let kernel = half == Half::Kernel;
                    let mut start = if kernel { subject::kernel(code) } else { subject::user(code) };
                    let target = start.rip + 0x100;
                    subject::place(target, &[]);
                    start.rsp -= 0x100;
                    let pointer = crate::memory::USER_DATA;
                    for place in [pointer, start.rsp] {
                        // SAFETY: the subject's data and stack.
                        unsafe {
                            (place as *mut u64).write_volatile(target);
                            ((place + 8) as *mut u64).write_volatile(u64::from(selector | rpl));
                        }
                    }
                    start.regs.rdi = pointer;
                    let end = guard::run(&start);
                    report.check(
                        format_args!("{code:x?} to {selector:#x}, {half:?}: {:#x}", end.vector),
                        end.vector < 32 && end.half() != Half::Nobody,
                    );
                }
            }
        }
    }
}
