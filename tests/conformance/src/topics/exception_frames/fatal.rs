//! Exceptions that end the domain: those without a handler, and those whose frame cannot be pushed.

use paravane_abi::hypercall::{
    HYPERVISOR_FPU_TASKSWITCH, HYPERVISOR_SET_TRAP_TABLE, HYPERVISOR_STACK_SWITCH,
};
use paravane_abi::trap::{TrapFlags, TrapInfo, vector};
use pv_probe::hypercall::raw;
use pv_probe::memory::{DATA, P, PAGE, US, WINDOW, map_new};
use pv_probe::{guard, ring, user};

use crate::case::{Case, Verdict};
use crate::code;
use crate::code::{Half, kernel, run};
use crate::rows::pointers;
use crate::trial::Trial;

/// A case: the handler of the vector is taken away, then the code runs.
macro_rules! unhandled {
    ($name:literal, $half:ident, $vector:ident, $($line:literal),+) => {
        Case::fatal($name, concat!(stringify!($vector), " without a handler, by ", $($line, "; "),+), |t| {
            unhandled(t, Half::$half, vector::$vector, code!($($line),+))
        })
    };
}

/// A case: the kernel's stack is there, and the kernel raises something.
macro_rules! stack {
    ($name:literal, $about:literal, $stack:expr) => {
        Case::fatal($name, $about, |t| kernel_stack(t, $stack))
    };
}

/// The cases.
pub const CASES: &[Case] = &[
    unhandled!("kernel-divide", Kernel, DE, "xor ecx, ecx", "div ecx"),
    unhandled!("program-divide", Program, DE, "xor ecx, ecx", "div ecx"),
    unhandled!("kernel-breakpoint", Kernel, BP, "int3"),
    unhandled!("program-breakpoint", Program, BP, "int3"),
    unhandled!("kernel-debug", Kernel, DB, "pushfq", "or dword ptr [rsp], 0x100", "popfq", "nop"),
    unhandled!("kernel-invalid-opcode", Kernel, UD, "ud2"),
    unhandled!("program-invalid-opcode", Program, UD, "ud2"),
    unhandled!("kernel-protection", Kernel, GP, "hlt"),
    unhandled!("program-protection", Program, GP, "hlt"),
    unhandled!("kernel-page", Kernel, PF, "mov rax, [0x1000]"),
    unhandled!("program-page", Program, PF, "mov rax, [0x1000]"),
    Case::fatal("kernel-no-device", "#NM without a handler", no_device),
    Case::fatal("no-table", "an exception after all handlers were taken away", no_table),
    Case::fatal(
        "handler-not-mapped",
        "a page fault's handler at an address where nothing is mapped",
        not_mapped,
    ),
    stack!("kernel-stack-not-mapped", "an exception of a kernel whose stack is not mapped", NOTHING + 0x800),
    stack!(
        "kernel-stack-read-only",
        "an exception of a kernel whose stack it may not write",
        READ_ONLY + 0x800
    ),
    stack!(
        "kernel-stack-hypervisor",
        "an exception of a kernel whose stack is the hypervisor's",
        pointers::HYPERVISOR + 0x800
    ),
    stack!("kernel-stack-null", "an exception of a kernel with RSP 0", 0),
    Case::fatal(
        "kernel-stack-straddles",
        "a frame that would cross into a page that is not mapped",
        straddles,
    ),
    Case::fatal("trap-stack-not-mapped", "an exception of a program, the trap stack being not mapped", |t| {
        trap_stack(t, NOTHING + 0x800)
    }),
    Case::fatal("trap-stack-read-only", "an exception of a program, the trap stack being read-only", |t| {
        trap_stack(t, READ_ONLY + 0x800)
    }),
    Case::fatal(
        "trap-stack-hypervisor",
        "an exception of a program, the trap stack being the hypervisor's",
        |t| trap_stack(t, pointers::HYPERVISOR + 0x800),
    ),
    Case::fatal(
        "trap-stack-not-canonical",
        "an exception of a program, the trap stack being no address",
        |t| trap_stack(t, pointers::NOT_CANONICAL + 0x800),
    ),
    Case::fatal("trap-stack-null", "an exception of a program, no trap stack being set", |t| {
        trap_stack(t, 0)
    }),
];

/// Nothing is mapped there; the next page may be read.
const NOTHING: u64 = WINDOW + 0x3100_0000;
const READ_ONLY: u64 = NOTHING + PAGE;

fn take_away(t: &mut Trial, number: u8) -> Verdict {
    // A table of the one vector, without an address; the entry that ends a table has none either.
    let without = guard::trap_table().map(|entry| match entry.vector {
        vector if vector == number => {
            TrapInfo::new(vector::NMI, TrapFlags::empty(), ring::code(), entry.address)
        }
        _ => entry,
    });
    t.need("take all away", raw(HYPERVISOR_SET_TRAP_TABLE, [0; 5]))?;
    t.need("set_trap_table", raw(HYPERVISOR_SET_TRAP_TABLE, [without.as_ptr() as u64, 0, 0, 0, 0]))
}

fn unhandled(t: &mut Trial, half: Half, number: u8, code: &[u8]) -> Verdict {
    user::prepare();
    take_away(t, number)?;
    run(half, code, 0);
    Ok(())
}

fn no_device(t: &mut Trial) -> Verdict {
    take_away(t, vector::NM)?;
    t.need("fpu_taskswitch", raw(HYPERVISOR_FPU_TASKSWITCH, [1, 0, 0, 0, 0]))?;
    kernel(code!("fnop"), 0);
    Ok(())
}

fn no_table(t: &mut Trial) -> Verdict {
    t.need("set_trap_table", raw(HYPERVISOR_SET_TRAP_TABLE, [0; 5]))?;
    kernel(code!("ud2"), 0);
    Ok(())
}

fn not_mapped(t: &mut Trial) -> Verdict {
    // Each fault is one of fetching the handler, and has a frame: the stack's end is the domain's.
    let table = [
        TrapInfo::new(vector::PF, TrapFlags::empty(), ring::code(), NOTHING),
        TrapInfo::new(0, TrapFlags::empty(), 0, 0),
    ];
    t.need("set_trap_table", raw(HYPERVISOR_SET_TRAP_TABLE, [table.as_ptr() as u64, 0, 0, 0, 0]))?;
    map_new(READ_ONLY, DATA);
    kernel(code!("mov rsp, rdi", "mov rax, [0x1000]"), READ_ONLY + PAGE);
    Ok(())
}

fn kernel_stack(_: &mut Trial, stack: u64) -> Verdict {
    map_new(READ_ONLY, P | US);
    kernel(code!("mov rsp, rdi", "ud2"), stack);
    Ok(())
}

fn straddles(_: &mut Trial) -> Verdict {
    map_new(READ_ONLY, DATA);
    kernel(code!("mov rsp, rdi", "ud2"), READ_ONLY + 16);
    Ok(())
}

fn trap_stack(_: &mut Trial, stack: u64) -> Verdict {
    user::prepare();
    map_new(READ_ONLY, P | US);
    // Addresses that are no use are taken here, or refused; what counts is what the exception makes of them.
    raw(HYPERVISOR_STACK_SWITCH, [ring::stack().into(), stack, 0, 0, 0]);
    run(Half::Program, code!("ud2"), 0);
    Ok(())
}
