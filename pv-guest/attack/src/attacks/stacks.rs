//! Kernel stacks and debug registers that an entry must not trust. Stacks that end the domain are in
//! [`fatal`](super::fatal).

use paravane_abi::hypercall as nr;

use super::address::HYPERVISOR;
use super::subject::{self, BREAKPOINT};
use super::{Report, Row};
use crate::guard;
use crate::hypercall::raw;
use crate::memory::{USER_DATA, WINDOW};
use crate::ring;

/// See the module.
pub const ROWS: &[Row] = &[
    Row {
        name: "stack-switch-syscall",
        reason: "syscall enters ring 1 by the hypervisor's iretq with an RSP that was not checked: nothing may be pushed there on the way",
        run: stack_switch_syscall,
    },
    Row {
        name: "int80-hypervisor-stack",
        reason: "a direct gate pushes its frame with ring 1's rights, to an address that the guest chose",
        run: int80_hypervisor_stack,
    },
    Row {
        name: "breakpoint-addresses",
        reason: "a breakpoint in the entry area stops ring 0 at its first instruction (XSA-260's other half)",
        run: breakpoint_addresses,
    },
    Row {
        name: "single-step-into-entries",
        reason: "TF set at each instruction that enters ring 0: the trap is due in the entry",
        run: single_step,
    },
    Row {
        name: "breakpoints-on-everything",
        reason: "data breakpoints on what entries touch of the guest's: bounce frames, arguments, the shared page",
        run: breakpoints_on_everything,
    },
];

fn stack_switch_syscall(report: &mut Report) {
    for sp in [0, 8, 1 << 47, u64::MAX, 0xffff_8080_0002_0ff0, WINDOW, 0xdead_beef_dead_beef]
        .into_iter()
        .chain(HYPERVISOR)
    {
        for ss in [0u64, 0xe071, 0xe010, 3] {
            let result = raw(nr::HYPERVISOR_STACK_SWITCH, [ss, sp, 0, 0, 0]);
            report.result("stack_switch takes any", result, 0);
            let end = subject::run_user(&[0x0f, 0x05]);
            report.check(
                format_args!("stack {sp:#x}: vector {:#x}, RSP {:#x}", end.vector, end.entry_sp),
                end.vector == guard::SYSCALL && end.entry_sp == sp,
            );
        }
    }
}

fn int80_hypervisor_stack(report: &mut Report) {
    // The entry stack and the interrupt stacks can be written by ring 1, so the processor can push there for it.
    for sp in [0xffff_8080_0002_0fe0u64, 0xffff_8080_0003_0fe0, 0xffff_8080_0003_6fe0] {
        report.result(
            "stack_switch",
            raw(nr::HYPERVISOR_STACK_SWITCH, [ring::stack().into(), sp, 0, 0, 0]),
            0,
        );
        let end = subject::run_user(&[0xcd, 0x80]);
        report.check(
            format_args!("stack {sp:#x}: vector {:#x}, RSP {:#x}", end.vector, end.entry_sp),
            end.vector == guard::INT80 && end.entry_sp == sp - 40,
        );
    }
}

fn debug(register: u64, value: u64) -> i64 {
    raw(nr::HYPERVISOR_SET_DEBUGREG, [register, value, 0, 0, 0])
}

fn breakpoint_addresses(report: &mut Report) {
    for address in HYPERVISOR {
        for register in 0..4 {
            report.refused("a breakpoint", debug(register, address));
            let mut start = subject::kernel(&[0x0f, 0x23, 0xc0 | (register as u8) << 3]); // mov drN, rax
            start.regs.rax = address;
            let end = guard::run(&start);
            report.check(format_args!("mov dr{register}: vector {:#x}", end.vector), end.vector == 13);
        }
    }
    for address in [1 << 47, u64::MAX - 7, 0xffff_87ff_ffff_fffc] {
        let result = debug(0, address);
        report.check(format_args!("{address:#x}: {result}"), result <= 0);
    }
    // GD, reserved bits, lengths of eight bytes for code.
    for control in [1 << 13, 1 << 11, 1 << 63, !0, 0xffff_ffff, 0x0002_0002 | 1 << 13, 0x0f0f_03ff] {
        let result = debug(7, control);
        report.check(format_args!("DR7 {control:#x}: {result}"), result <= 0);
        let mut start = subject::hypercall();
        start.regs.rax = 17;
        let end = guard::run(&start);
        report.check(format_args!("DR7 {control:#x}: vector {:#x}", end.vector), end.vector < 32);
        debug(7, 0x400);
    }
    for register in [8, 15, 1 << 31] {
        report.refused("no such register", debug(register, 0));
    }
}

/// What enters the hypervisor, or another ring, by itself.
pub const ENTRIES: [&[u8]; 9] = [
    &[0xcd, 0x82],
    &[0x0f, 0x05],
    &[0xcc],
    &[0xcd, 0x80],
    &[0xf1],
    &[0x0f, 0x0b],
    &[0x0f, 0x34],
    &[0xf4],
    &[0xcd, 0x20],
];

fn single_step(report: &mut Report) {
    for code in ENTRIES {
        for mut start in [subject::kernel(code), subject::user(code), subject::user32(code)] {
            start.rflags |= 0x100;
            start.regs.rax = 17;
            let end = guard::run(&start);
            report.check(
                format_args!("{code:x?} in CS {:#x}: vector {:#x}", start.cs, end.vector),
                end.vector < 32 || end.vector >= guard::EVENT,
            );
            report.check(format_args!("{code:x?}: the handler steps on"), end.entry_flags & 0x100 == 0);
        }
    }
}

fn breakpoints_on_everything(report: &mut Report) {
    // The words of pending events: the vcpu's own words are touched by the stubs.
    let shared = crate::memory::shared() as u64 + 0x800;
    // Nothing of the core touches these while no subject runs: its breakpoints would hit there.
    let places = [subject::kernel_stack() - 64, crate::entries::kernel_stack(0) - 64, USER_DATA, shared];
    let code = [subject::kernel_code(), crate::memory::USER_CODE];
    // Local and global: execution at code; reads and writes, or writes alone, of eight bytes at data.
    let data = places.into_iter().flat_map(|place| [(place, 0x000b_0403u64), (place, 0x0009_0403)]);
    for (address, control) in code.into_iter().map(|place| (place, 0x0000_0403)).chain(data) {
        for code in ENTRIES {
            for mut start in [subject::kernel(code), subject::user(code)] {
                start.regs.rax = 17;
                start.regs.rsi = shared;
                report.result("DR0", debug(0, address & !7), 0);
                report.result("DR7", debug(7, control), 0);
                let end = guard::run(&start);
                report.result("DR7 off", debug(7, 0x400), 0);
                report.check(
                    format_args!("{code:x?}: vector {:#x}", end.vector),
                    end.vector < 32 || end.vector >= guard::EVENT,
                );
            }
        }
    }
    let end = subject::run_kernel(&[]);
    report.check(format_args!("afterwards: vector {:#x}", end.vector), end.vector == BREAKPOINT);
}
