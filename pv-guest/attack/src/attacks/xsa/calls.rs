//! Advisories on calls, entries and the instruction emulator.

use paravane_abi::hypercall as nr;
use paravane_abi::hypercall::{PAGE_SLOTS, ROWS as CALLS, SLOT_SIZE};
use paravane_abi::trap::TrapInfo;
use paravane_abi::vcpu::SEGBASE_GS_USER_SEL;

use super::super::address::HYPERVISOR;
use super::super::stacks::ENTRIES;
use super::super::{subject, system_calls};
use super::{Report, Row};
use crate::guard::{self, Start, int80_stub, stub};
use crate::hypercall::{entry, raw};
use crate::memory::{USER_DATA, WINDOW, fill, take};
use crate::notes::hypercall_page_address;
use crate::ring;

/// See the module.
pub const ROWS: &[Row] = &[
    Row {
        name: "xsa-213",
        reason: "iret inside a multicall, and the calls behind it run in the program's context",
        run: xsa_213,
    },
    Row {
        name: "xsa-259",
        reason: "the slow path of int 0x80 forgot what every other entry does",
        run: xsa_259,
    },
    Row {
        name: "xsa-260",
        reason: "mov ss holds a #DB back until the first instruction of ring 0",
        run: xsa_260,
    },
    Row {
        name: "xsa-293",
        reason: "CR4.FSGSBASE on behind the guest's back: programs change the kernel's bases",
        run: xsa_293,
    },
    Row {
        name: "xsa-296",
        reason: "arguments of vcpu_op and of calls made again that nobody had checked",
        run: xsa_296,
    },
    Row {
        name: "xsa-298",
        reason: "selectors past the limit of a table, read by the emulator all the same",
        run: xsa_298,
    },
    Row { name: "xsa-339", reason: "sysenter injected two exceptions for one", run: system_calls::sysenter },
    Row {
        name: "xsa-466",
        reason: "hypercalls through a page of calls: here the page has the instruction the processor checks, and inline works as well",
        run: xsa_466,
    },
];

fn xsa_213(report: &mut Report) {
    let target = subject::kernel_code() + 0x800;
    subject::place(target, &[]);
    for (cs, ss) in [(ring::shown_code(), ring::stack().into()), (0xe033, 0xe02b), (0xe008, 0xe010)] {
        let place = if cs == 0xe033 { crate::memory::USER_CODE + 0x800 } else { target };
        subject::place(place, &[]);
        let mut calls = [
            entry::<0>(nr::HYPERVISOR_XEN_VERSION, []),
            entry::<0>(nr::HYPERVISOR_IRET, []),
            entry::<0>(nr::HYPERVISOR_XEN_VERSION, []),
            entry(nr::HYPERVISOR_STACK_SWITCH, [0, 0xdead]),
        ];
        calls.iter_mut().for_each(|call| call.result = 0x5a5a);
        let mut start = subject::iret([place, cs, 0x202, subject::kernel_stack(), ss]);
        start.regs.rax = nr::HYPERVISOR_MULTICALL;
        start.regs.rdi = calls.as_mut_ptr() as u64;
        start.regs.rsi = calls.len() as u64;
        let end = guard::run(&start);
        report.check(format_args!("CS {cs:#x}: vector {:#x}", end.vector), matches!(end.vector, 3 | 13));
        report.check(format_args!("the first gave {:#x}", calls[0].result), calls[0].result == 4 << 16 | 17);
        for call in &calls[2..] {
            report.check(format_args!("a call behind it gave {:#x}", call.result), call.result == 0x5a5a);
        }
    }
}

fn xsa_259(report: &mut Report) {
    // By the direct gate, and by the hypervisor, where masking is asked for.
    for flags in [3u8, 3 | 4] {
        let table = [
            TrapInfo {
                vector: 0x80,
                flags,
                cs: ring::code(),
                // An exception's stub without error code takes what the hypervisor bounces; the gate has one of its own.
                address: if flags & 4 == 0 { int80_stub(0) } else { stub(0, 6) },
                ..TrapInfo::default()
            },
            TrapInfo::default(),
        ];
        report.result("the trap", raw(nr::HYPERVISOR_SET_TRAP_TABLE, [table.as_ptr() as u64, 0, 0, 0, 0]), 0);
        for rflags in [0x202u64, 0x602, 0x302, 0x4_0202, 0x4202] {
            for mut start in
                [subject::user(&[0xcd, 0x80]), subject::user32(&[0xcd, 0x80]), subject::kernel(&[0xcd, 0x80])]
            {
                start.rflags = rflags;
                start.regs.rax = 0x1234;
                start.regs.rcx = 0x5678;
                let end = guard::run(&start);
                report.check(
                    format_args!(
                        "flags {flags}, RFLAGS {rflags:#x}: vector {:#x}, RAX {:#x}",
                        end.vector, end.regs.rax
                    ),
                    matches!(end.vector, guard::INT80 | 6 | 1 | 13)
                        && end.regs.rax == 0x1234
                        && end.regs.rcx == 0x5678,
                );
            }
        }
    }
}

fn xsa_260(report: &mut Report) {
    let debug = |register: u64, value: u64| raw(nr::HYPERVISOR_SET_DEBUGREG, [register, value, 0, 0, 0]);
    for code in ENTRIES {
        // mov ss, [rdi], and the entry behind it.
        let mut bytes = [0x90; 8];
        bytes[..2].copy_from_slice(&[0x8e, 0x17]);
        bytes[2..2 + code.len()].copy_from_slice(code);
        let bytes = &bytes[..2 + code.len()];
        for (mut start, selector) in [
            (subject::kernel(bytes), u64::from(ring::stack())),
            (subject::user(bytes), 0xe02b),
            (subject::user32(bytes), 0xe02b),
        ] {
            for control in [0x000b_0403u64, 0x0003_0403, 0x0007_0403] {
                // SAFETY: programs' data.
                unsafe { (USER_DATA as *mut u64).write_volatile(selector) };
                start.regs.rdi = USER_DATA;
                start.regs.rax = 17;
                report.result("DR0", debug(0, USER_DATA), 0);
                report.result("DR7", debug(7, control), 0);
                let end = guard::run(&start);
                report.result("DR7 off", debug(7, 0x400), 0);
                report.check(
                    format_args!("{code:x?} behind mov ss in CS {:#x}: vector {:#x}", start.cs, end.vector),
                    end.vector < 32 || end.vector >= guard::EVENT,
                );
                report.check(
                    format_args!("the handler has {:#x}", end.entry_flags),
                    end.entry_flags & 0x100 == 0,
                );
            }
        }
    }
}

fn xsa_293(report: &mut Report) {
    const FSGSBASE: u64 = 1 << 16;
    // rdfsbase, rdgsbase, wrfsbase, wrgsbase of RAX.
    for operation in [0xc0u8, 0xc8, 0xd0, 0xd8] {
        let code = [0xf3, 0x48, 0x0f, 0xae, operation];
        for cr4 in [0u64, FSGSBASE, !FSGSBASE, 0x1_06f0, 0x6f0] {
            let mut start = subject::kernel(&[0x0f, 0x22, 0xe0]); // mov cr4, rax
            start.regs.rax = cr4;
            guard::run(&start);
            for mut start in [subject::user(&code), subject::kernel(&code)] {
                start.regs.rax = WINDOW;
                let end = guard::run(&start);
                // With the bit it goes on to the end of the code.
                let wanted = if cr4 & FSGSBASE != 0 { 3 } else { 6 };
                report.check(
                    format_args!("{code:x?} after CR4 {cr4:#x}: vector {:#x}", end.vector),
                    end.vector == wanted,
                );
            }
        }
    }
    let mut start = subject::kernel(&[0x0f, 0x22, 0xe0]);
    start.regs.rax = 0x660;
    guard::run(&start);
}

fn xsa_296(report: &mut Report) {
    let row = CALLS.iter().find(|row| row.number == nr::HYPERVISOR_VCPU_OP);
    let own = WINDOW;
    for sub in row.map_or(&[][..], |row| row.sub_operations).iter().map(|sub| sub.number).chain([
        14,
        63,
        1 << 31,
        u64::MAX,
    ]) {
        for vcpu in [1u64, 63, 64, 8191, 8192, 1 << 31, u32::MAX.into(), 1 << 32 | 5] {
            for pointer in [0, own, 1 << 47, u64::MAX].into_iter().chain(HYPERVISOR) {
                let result = raw(nr::HYPERVISOR_VCPU_OP, [sub, vcpu, pointer, 0, 0]);
                report.check(format_args!("{sub} of {vcpu:#x} at {pointer:#x}: {result}"), result <= 1);
            }
        }
    }
    // Calls that say that they are made again, and were not.
    for number in [nr::HYPERVISOR_MMU_UPDATE, nr::HYPERVISOR_MMUEXT_OP] {
        for count in [1u64 << 31, 1 << 31 | 1, u32::MAX.into()] {
            for requests in [0, own, HYPERVISOR[0]] {
                for domain in [0x7ff0u64, 0, 1 << 31, u32::MAX.into()] {
                    let result = raw(number, [requests, count, 0, domain, 0]);
                    // What was "done before" is the caller's word, and goes back to it.
                    report.check(format_args!("{number} again: {result:#x}"), result <= u32::MAX.into());
                }
            }
        }
    }
    for extent in [1u64, 7, 1 << 20, u64::MAX >> 6] {
        for command in [0u64, 1, 6, 11] {
            let result = raw(nr::HYPERVISOR_MEMORY_OP, [command | extent << 6, own, 0, 0, 0]);
            let wanted =
                result < 0 || result as u64 == extent & u64::from(u32::MAX) || result as u64 == extent;
            report.check(format_args!("memory_op {command} from {extent:#x}: {result:#x}"), wanted);
        }
    }
}

fn xsa_298(report: &mut Report) {
    // One page of descriptors: selectors of the pages behind it name nothing.
    const DATA: u64 = 0x00cf_f300_0000_ffff;
    let page = take();
    fill(page, |_| DATA);
    let frame = page;
    report.result("the table", raw(nr::HYPERVISOR_SET_GDT, [&raw const frame as u64, 512, 0, 0, 0]), 0);
    for selector in [0x1003u64, 0x2003, 0xdffb, 0xefff, 0xf003, 0xfffb, 0xffff, 7, 0x1007] {
        raw(nr::HYPERVISOR_SET_SEGMENT_BASE, [SEGBASE_GS_USER_SEL.into(), selector, 0, 0, 0]);
        let gs: u64;
        // SAFETY: reads a selector.
        unsafe { core::arch::asm!("mov {0:e}, gs", out(reg) gs) };
        report.check(format_args!("GS {selector:#x} was loaded: {gs:#x}"), gs == 0);
        // The emulator's own reads: a string of bytes from a port, in 32-bit code, by such a segment.
        for code in [&[0x8e, 0xd9, 0x6e][..], &[0x8e, 0xc1, 0x6c], &[0x0f, 0x02, 0xc1], &[0x0f, 0x03, 0xc1]] {
            let mut start: Start = subject::user32(code);
            start.regs.rcx = selector;
            start.regs.rsi = USER_DATA;
            start.regs.rdi = USER_DATA;
            let end = guard::run(&start);
            report.check(
                format_args!("{code:x?}: vector {:#x}", end.vector),
                matches!(end.vector, 3 | 13 | 11),
            );
        }
    }
    report.result("no table", raw(nr::HYPERVISOR_SET_GDT, [0; 5]), 0);
}

fn xsa_466(report: &mut Report) {
    let page = hypercall_page_address();
    for slot in 0..PAGE_SLOTS {
        let at = page + (slot * SLOT_SIZE) as u64;
        // SAFETY: the page of the image that the hypervisor has filled.
        let bytes: [u8; SLOT_SIZE] = unsafe { (at as *const [u8; SLOT_SIZE]).read_volatile() };
        let syscall = bytes.windows(2).any(|pair| pair == [0x0f, 0x05]);
        // In ring 3 the page is Xen's, and the guest makes its calls inline.
        report.check(format_args!("slot {slot} has a syscall"), !syscall || ring::is_3());
        if slot as u64 == nr::HYPERVISOR_XEN_VERSION {
            let mut start = Start::kernel(at, subject::kernel_stack() - 8);
            subject::place(subject::kernel_code(), &[]);
            // SAFETY: the subject's stack: the slot returns to the end of a subject.
            unsafe { ((subject::kernel_stack() - 8) as *mut u64).write_volatile(subject::kernel_code()) };
            start.regs.rcx = 0x11;
            start.regs.r11 = 0x12;
            let end = guard::run(&start);
            report.check(
                format_args!("by the page: vector {:#x}, RAX {:#x}", end.vector, end.regs.rax),
                end.vector == subject::BREAKPOINT
                    && end.regs.rax == 4 << 16 | 17
                    && (end.regs.rcx, end.regs.r11) == (0x11, 0x12),
            );
        }
    }
    report.check(format_args!("inline"), crate::hypercall::null() == 4 << 16 | 17);
}
