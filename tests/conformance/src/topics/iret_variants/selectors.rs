//! CS and SS of a return, and addresses that are none.

use paravane_abi::regs::VGCF_IN_SYSCALL;
use paravane_abi::ring1::USER_CS32;
use paravane_abi::trap::vector;
use pv_probe::ring;

use super::returns::{to_kernel, to_program};
use crate::case::{Case, Explained, Rings, Verdict, because};
use crate::code;
use crate::code::SAVED_MASK;
use crate::rows::pointers;
use crate::topics::gdt::{CODE64, DATA, Gdt, NOT_PRESENT};
use crate::trial::Trial;

/// The cases.
pub const CASES: &[Case] = &[
    Case::good("stack-privilege", "SS gets the RPL of a program", stack_privilege),
    Case::good("kernel-stack-privilege", "SS gets the RPL of the kernel", kernel_stack_privilege),
    Case::good("own-segments", "selectors of the guest's own GDT", own_segments)
        .rings(Rings::Three("programs of a kernel in ring 1 have the hypervisor's code segments alone")),
    Case::good("program-32", "a 32-bit program", program32),
    Case::good("program-32-in-syscall", "the same, as by sysret", program32_in_syscall)
        .rings(Rings::Three("a return in ring 1 takes the selectors of the context")),
    Case::good("in-syscall-selectors", "selectors that are not looked at", in_syscall)
        .rings(Rings::Three("a return in ring 1 takes the selectors of the context")),
    Case::refusal("null-stack", "no SS for a program", null_stack),
    Case::refusal("data-as-code", "CS of a data segment", |t| bad(t, 0xe02b, 0xe02b, vector::GP, 0xe028)),
    Case::refusal("beyond-table", "CS beyond the table", |t| bad(t, 0xfffb, 0xe02b, vector::GP, 0xfff8)),
    Case::refusal("stack-beyond-table", "SS beyond the table", |t| {
        bad(t, 0xe033, 0xfffb, vector::GP, 0xfff8)
    }),
    Case::refusal("code-as-stack", "SS of a code segment", |t| bad(t, 0xe033, 0xe033, vector::GP, 0xe030)),
    Case::refusal("stack-not-present", "SS of a segment that is not present", stack_not_present),
    Case::refusal("kernel-beyond-table", "CS of the kernel beyond the table", kernel_beyond_table),
    Case::refusal("not-canonical", "a return of a program to no address", not_canonical)
        .explained(&[Explained { value: "program", reason: because::EMULATOR }]),
];

fn stack_privilege(t: &mut Trial) -> Verdict {
    for selector in [0xe028, 0xe029, 0xe02a, 0xe02b] {
        let came = to_program(code!("ud2"), |frame| frame[8] = selector, &[0; 15]);
        t.raises(format_args!("{selector:x}"), &came.caught, vector::UD.into(), None);
        t.equal(format_args!("{selector:x}.ss"), came.caught.frame()[4], 0xe02b);
    }
    Ok(())
}

fn kernel_stack_privilege(t: &mut Trial) -> Verdict {
    for level in 0..4 {
        let selector = u64::from(ring::stack() & !3) | level;
        let came = to_kernel(code!("ud2"), |frame| frame[8] = selector, &[0; 15]);
        t.raises(format_args!("{level}"), &came.caught, vector::UD.into(), None);
        t.holds(format_args!("{level}.ss"), came.caught.frame()[4] == u64::from(ring::stack()));
    }
    Ok(())
}

fn own_segments(t: &mut Trial) -> Verdict {
    let gdt = Gdt::install(&[(3, CODE64), (4, DATA)])?;
    let change = |frame: &mut [u64; 9]| (frame[5], frame[8]) = (0x1b, 0x23);
    let came = to_program(code!("ud2"), change, &[0; 15]);
    t.raises("program", &came.caught, vector::UD.into(), None);
    t.equal("cs", came.caught.frame()[1], 0x1b | SAVED_MASK);
    t.equal("ss", came.caught.frame()[4], 0x23);
    gdt.remove()
}

fn program32(t: &mut Trial) -> Verdict {
    // dec eax is REX.W in 64-bit code: the same bytes do something else.
    let came = to_program(code!(".byte 0x48", "nop", "ud2"), |frame| frame[5] = USER_CS32.into(), &[0; 15]);
    t.raises("program", &came.caught, vector::UD.into(), None);
    t.equal("cs", came.caught.frame()[1], u64::from(USER_CS32) | SAVED_MASK);
    t.equal("eax", came.caught.registers[0], 0xffff_ffff);
    Ok(())
}

fn program32_in_syscall(t: &mut Trial) -> Verdict {
    let change = |frame: &mut [u64; 9]| (frame[3], frame[5]) = (VGCF_IN_SYSCALL, USER_CS32.into());
    let came = to_program(code!(".byte 0x48", "nop", "ud2"), change, &[0; 15]);
    t.raises("program", &came.caught, vector::UD.into(), None);
    t.equal("cs", came.caught.frame()[1], u64::from(USER_CS32) | SAVED_MASK);
    t.equal("eax", came.caught.registers[0], 0xffff_ffff);
    Ok(())
}

fn in_syscall(t: &mut Trial) -> Verdict {
    for (cs, ss) in [(0xe033, 0), (0xe033, 0xe033), (0xe02b, 0xe02b), (0x13, 0x1b)] {
        let change = |frame: &mut [u64; 9]| (frame[3], frame[5], frame[8]) = (VGCF_IN_SYSCALL, cs, ss);
        let came = to_program(code!("ud2"), change, &[0; 15]);
        t.raises(format_args!("{cs:x}.{ss:x}"), &came.caught, vector::UD.into(), None);
        t.equal(format_args!("{cs:x}.{ss:x}.cs"), came.caught.frame()[1], 0xe033 | SAVED_MASK);
        t.equal(format_args!("{cs:x}.{ss:x}.ss"), came.caught.frame()[4], 0xe02b);
    }
    Ok(())
}

fn null_stack(t: &mut Trial) -> Verdict {
    for selector in [0, 3] {
        let came = to_program(code!("ud2"), |frame| frame[8] = selector, &[0; 15]);
        t.raises(format_args!("{selector}"), &came.caught, vector::GP.into(), Some(0));
        t.equal(format_args!("{selector}.rip"), came.caught.frame()[0].wrapping_sub(came.start), 0);
        t.equal(format_args!("{selector}.ss"), came.caught.frame()[4], 3);
    }
    Ok(())
}

/// A return to a program that raises this in the program's context.
fn bad(t: &mut Trial, cs: u64, ss: u64, number: u8, error: u64) -> Verdict {
    let came = to_program(code!("ud2"), |frame| (frame[5], frame[8]) = (cs, ss), &[0; 15]);
    t.raises("program", &came.caught, number.into(), Some(error));
    let [rip, shown_cs, _, rsp, shown_ss] = came.caught.frame();
    t.equal("rip", rip.wrapping_sub(came.start), 0);
    t.equal("rsp", rsp.wrapping_sub(came.rsp), 0);
    t.equal("cs", shown_cs, cs | SAVED_MASK);
    t.equal("ss", shown_ss, ss);
    t.holds("pushed-at", came.caught.rsp == came.frame_address(8));
    Ok(())
}

fn stack_not_present(t: &mut Trial) -> Verdict {
    let gdt = Gdt::install(&[(4, NOT_PRESENT)])?;
    let came = to_program(code!("ud2"), |frame| frame[8] = 0x23, &[0; 15]);
    // The SDM says #SS (volume 2, IRET); QEMU 7.2 raises #NP.
    t.holds("vector", [vector::SS, vector::NP].map(u64::from).contains(&came.caught.vector));
    t.same("error", came.caught.error(), Some(0x20));
    t.equal("rip", came.caught.frame()[0].wrapping_sub(came.start), 0);
    gdt.remove()
}

fn kernel_beyond_table(t: &mut Trial) -> Verdict {
    let came = to_kernel(code!("ud2"), |frame| frame[5] = 0xfff8, &[0; 15]);
    t.raises("kernel", &came.caught, vector::GP.into(), Some(0xfff8));
    t.equal("rip", came.caught.frame()[0].wrapping_sub(came.start), 0);
    t.equal("rsp", came.caught.frame()[3].wrapping_sub(came.rsp), 0);
    Ok(())
}

fn not_canonical(t: &mut Trial) -> Verdict {
    let came = to_program(code!("ud2"), |frame| frame[4] = pointers::NOT_CANONICAL, &[0; 15]);
    t.holds("raised", came.caught.vector == vector::GP.into() || came.caught.vector == vector::PF.into());
    t.observe("program", format_args!("vector {}", came.caught.vector));
    t.equal("rip", came.caught.frame()[0], pointers::NOT_CANONICAL);
    Ok(())
}
