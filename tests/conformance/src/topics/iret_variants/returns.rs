//! Registers, the two halves, and the event mask.

use paravane_abi::regs::VGCF_IN_SYSCALL;
use paravane_abi::trap::vector;
use pv_probe::guard::{self, stub};
use pv_probe::memory::{events_masked, mask_events};
use pv_probe::{ring, user};

use crate::case::{Case, Rings, Verdict};
use crate::code;
use crate::code::{Came, Half, SAVED_MASK, fault_address, kernel_address, place, program_with};
use crate::trial::Trial;

/// The cases.
pub const CASES: &[Case] = &[
    Case::good("program-registers", "a program has the context's registers, and keeps the others", program),
    Case::good("kernel-registers", "the same of the kernel", kernel),
    Case::good("in-syscall-registers", "RCX and R11 after a return as by sysret", in_syscall)
        .rings(Rings::Three("a kernel in ring 1 keeps RCX and R11")),
    Case::good("in-syscall-ring1", "RCX and R11 are kept in ring 1", in_syscall_ring1)
        .rings(Rings::One("a return in ring 3 is by sysret")),
    Case::good("program-masks", "without IF events are masked, with it they are not", |t| {
        masks(t, Half::Program)
    })
    .rings(Rings::Three("in ring 1 the mask does not hold for programs")),
    Case::good("kernel-masks", "the same of a return to the kernel", |t| masks(t, Half::Kernel)),
    Case::good("to-and-fro", "kernel, program, kernel, program: each on its own tables", to_and_fro),
    Case::good("stack-pointer", "any RSP will do until it is used", stack_pointer),
    Case::good("not-mapped", "a return to where nothing is mapped is a page fault there", not_mapped),
    Case::good("null", "a return of the kernel to address 0 is a page fault there", null),
];

/// Values of RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8 to R15.
fn values() -> [u64; 15] {
    core::array::from_fn(|index| 0x1234_5678_0000_0100 + index as u64)
}

/// Returns to the kernel's own code with this context's flags and RFLAGS.
pub fn to_kernel(code: &[u8], change: impl FnOnce(&mut [u64; 9]), registers: &[u64; 15]) -> Came {
    place(code);
    let stack = guard::trap_stack() - 0x400;
    let mut frame = [0, 0, 0, 0, kernel_address(), ring::shown_code(), 2, stack, u64::from(ring::stack())];
    change(&mut frame);
    // SAFETY: the code ends in what it raises, on the unused part of a stack.
    let caught = unsafe { guard::leave(&frame, registers) };
    Came { caught, half: Half::Kernel, start: frame[4], rsp: frame[7] }
}

/// Returns to a program.
pub fn to_program(code: &[u8], change: impl FnOnce(&mut [u64; 9]), registers: &[u64; 15]) -> Came {
    let mut frame = user::frame();
    change(&mut frame);
    program_with(code, &frame, registers)
}

fn check(t: &mut Trial, came: &Came) {
    came.expect(t, vector::UD, None, 0);
    t.equal("rcx", came.caught.pushed[0], 0x33);
    t.equal("r11", came.caught.pushed[1], 0x22);
    let mut wanted = values();
    wanted[0] = 0x11;
    (wanted[2], wanted[10]) =
        if ring::is_1() { (0x33, 0x22) } else { (stub(vector::UD.into()), came.caught.rflags) };
    t.holds("others", came.caught.registers == wanted);
}

fn scratch(frame: &mut [u64; 9]) {
    (frame[0], frame[1], frame[2]) = (0x11, 0x22, 0x33);
}

fn program(t: &mut Trial) -> Verdict {
    check(t, &to_program(code!("ud2"), scratch, &values()));
    Ok(())
}

fn kernel(t: &mut Trial) -> Verdict {
    check(t, &to_kernel(code!("ud2"), scratch, &values()));
    Ok(())
}

fn in_syscall(t: &mut Trial) -> Verdict {
    let came = to_program(
        code!("ud2"),
        |frame| {
            scratch(frame);
            frame[3] = VGCF_IN_SYSCALL;
        },
        &values(),
    );
    came.expect(t, vector::UD, None, 0);
    t.equal("rax", came.caught.registers[0], 0x11);
    t.holds("rcx", came.caught.pushed[0] == user::CODE);
    t.equal("r11", came.caught.pushed[1], 0x202);
    Ok(())
}

fn in_syscall_ring1(t: &mut Trial) -> Verdict {
    // The guard gives RCX and R11 no values; they are whatever they were at the call, and not the context's.
    let came = to_program(
        code!("ud2"),
        |frame| {
            (frame[0], frame[1], frame[2]) = (0x11, 0x2222_2222_2222, 0x3333_3333_3333);
            frame[3] = VGCF_IN_SYSCALL;
        },
        &values(),
    );
    came.expect(t, vector::UD, None, 0);
    t.equal("rax", came.caught.registers[0], 0x11);
    t.holds("rcx", came.caught.pushed[0] != 0x3333_3333_3333);
    t.holds("r11", came.caught.pushed[1] != 0x2222_2222_2222);
    Ok(())
}

fn masks(t: &mut Trial, half: Half) -> Verdict {
    for (flags, before) in [(2u64, true), (2, false), (0x202, true), (0x202, false)] {
        user::prepare();
        mask_events(before);
        let change = |frame: &mut [u64; 9]| frame[6] = flags;
        let came = match half {
            Half::Kernel => to_kernel(code!("ud2"), change, &[0; 15]),
            Half::Program => to_program(code!("ud2"), change, &[0; 15]),
        };
        let masked = events_masked();
        mask_events(true);
        t.raises(format_args!("{flags:x}.from-{before}"), &came.caught, vector::UD.into(), None);
        t.same(format_args!("{flags:x}.from-{before}.masked"), masked, flags == 2);
        let saved = if flags == 2 { SAVED_MASK } else { 0 };
        t.holds(
            format_args!("{flags:x}.from-{before}.cs"),
            came.caught.frame()[1] == came.shown_code() | saved,
        );
    }
    Ok(())
}

fn to_and_fro(t: &mut Trial) -> Verdict {
    for round in 0..3u64 {
        let came = to_kernel(code!("mov rax, rdi", "ud2"), |_| (), &[round; 15]);
        came.expect(t, vector::UD, None, 3);
        t.equal(format_args!("kernel.{round}.rax"), came.caught.registers[0], round);
        let came = to_program(code!("lea rax, [rdi + 1]", "ud2"), |_| (), &[round; 15]);
        came.expect(t, vector::UD, None, 4);
        t.equal(format_args!("program.{round}.rax"), came.caught.registers[0], round + 1);
    }
    Ok(())
}

fn stack_pointer(t: &mut Trial) -> Verdict {
    for rsp in [0u64, 1, 0x7fff_ffff_ffff, u64::MAX, 0x8000_0000_0000, 0x1234_5678_9abc_def0] {
        let came = to_program(code!("ud2"), |frame| frame[7] = rsp, &[0; 15]);
        t.raises(format_args!("{rsp:x}"), &came.caught, vector::UD.into(), None);
        t.equal(format_args!("{rsp:x}.rsp"), came.caught.frame()[3], rsp);
    }
    Ok(())
}

fn not_mapped(t: &mut Trial) -> Verdict {
    let address = 0x5555_5555_5555;
    let came = to_program(code!("ud2"), |frame| frame[4] = address, &[0; 15]);
    t.equal("address", fault_address(), address);
    came.expect(t, vector::PF, Some(0x14), 0);
    Ok(())
}

fn null(t: &mut Trial) -> Verdict {
    let came = to_kernel(code!("ud2"), |frame| frame[4] = 0, &[0; 15]);
    t.equal("address", fault_address(), 0);
    came.expect(t, vector::PF, Some(0x10), 0);
    Ok(())
}
