//! `iret()`, call 23 (xen/include/public/arch-x86/xen-x86_64.h, `struct iret_context`).
//!
//! Continues at the context on the kernel's stack: RAX, R11, RCX, flags, RIP, CS, RFLAGS, RSP, SS. RPL 3 in CS means a
//! program, any other the kernel. The event mask becomes the inverse of IF. With `VGCF_in_syscall` in the flags RCX and R11
//! are left to the processor's `sysret`: they are RIP and RFLAGS then. In RFLAGS a guest has what it may have.
//!
//! Nothing is refused: a context that cannot be read, or a program without a table to run on, ends the domain; one that the
//! processor refuses raises its exception in the context.

use paravane_abi::mmu::MMUEXT_NEW_USER_BASEPTR;
use paravane_abi::regs::{VGCF_IN_SYSCALL, rflags};
use paravane_abi::trap::vector;
use pv_probe::guard::{Caught, guarded, leave};
use pv_probe::hypercall::mmuext;
use pv_probe::memory::{PAGE, Page, events_masked, mask_events};
use pv_probe::{ring, user};

use crate::case::{Case, Rings, Row, Verdict};
use crate::code;
use crate::rows::pointers;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "iret",
    &[
        Case::good("registers", "a program has all registers of the context", registers),
        Case::good("in-syscall", "RCX and R11 are RIP and RFLAGS with VGCF_in_syscall", in_syscall)
            .rings(Rings::Three("ring 1 keeps RCX and R11 as they are")),
        Case::good("flags", "a program has the flags it may have", flags),
        Case::good("mask", "the event mask is the inverse of IF", mask),
        Case::good("kernel", "an RPL other than 3 returns to the kernel", kernel),
        Case::good("kernel-stack", "the kernel's stack pointer is the context's", kernel_stack),
        Case::good("selectors", "a program's selectors have RPL 3", selectors),
        Case::good("no-segment", "a code selector that there is not raises #GP in the context", no_segment),
        Case::fatal("unreadable", "a context that cannot be read", unreadable),
        Case::fatal("no-user-table", "a program without a table to run on", no_user_table)
            .rings(Rings::Three("a kernel in ring 1 shares its table with its programs")),
    ],
)
.no_refusal("a context that cannot be used ends the domain, or raises its exception");

static STACK: Page = Page::new();

/// A program of one `ud2`, returned to by this context and with these registers.
fn program(frame: &[u64; 9], registers: &[u64; 15]) -> Caught {
    user::prepare();
    user::place(&[0x0f, 0x0b]);
    // SAFETY: the program is one `ud2`.
    unsafe { leave(frame, registers) }
}

fn registers(t: &mut Trial) -> Verdict {
    let mut frame = user::frame();
    (frame[0], frame[1], frame[2]) = (0xa0, 0xa1, 0xa2);
    let registers = core::array::from_fn(|index| 0x1000_0000_0000 + index as u64);
    let caught = program(&frame, &registers);
    t.raises("program", &caught, vector::UD.into(), None);
    t.equal("rax", caught.registers[0], 0xa0);
    // RCX and R11 as the frame has them: a handler's own are not the program's.
    t.equal("rcx", caught.pushed[0], 0xa2);
    t.equal("r11", caught.pushed[1], 0xa1);
    for (name, index) in [("rbx", 1), ("rdx", 3), ("rsi", 4), ("rdi", 5), ("rbp", 6), ("r8", 7), ("r15", 14)]
    {
        t.equal(name, caught.registers[index], registers[index]);
    }
    let [rip, _, _, rsp, _] = caught.frame();
    t.equal("rip", rip, user::CODE);
    t.equal("rsp", rsp, user::STACK_END);
    Ok(())
}

fn in_syscall(t: &mut Trial) -> Verdict {
    let mut frame = user::frame();
    (frame[1], frame[2], frame[3]) = (0xa1, 0xa2, VGCF_IN_SYSCALL);
    frame[6] = rflags::FIXED | rflags::IF | rflags::DF;
    let caught = program(&frame, &[0; 15]);
    mask_events(true);
    t.equal("rcx", caught.pushed[0], user::CODE);
    t.equal("r11", caught.pushed[1], rflags::FIXED | rflags::IF | rflags::DF);
    Ok(())
}

fn flags(t: &mut Trial) -> Verdict {
    for (name, given, want) in [
        ("nothing", 0, rflags::FIXED),
        ("direction", rflags::DF, rflags::DF | rflags::FIXED),
        ("status", 0x8d5, 0x8d5 | rflags::FIXED),
        ("nested", rflags::NT, rflags::NT | rflags::FIXED),
        ("alignment", rflags::AC, rflags::AC | rflags::FIXED),
        ("identification", 1 << 21, 1 << 21 | rflags::FIXED),
        ("privilege", rflags::IOPL, rflags::FIXED),
    ] {
        let mut frame = user::frame();
        frame[6] = given;
        t.equal(name, program(&frame, &[0; 15]).frame()[2], want);
    }
    Ok(())
}

fn mask(t: &mut Trial) -> Verdict {
    for (name, given, want) in [("clear", 0, true), ("set", rflags::IF, false)] {
        for masked in [false, true] {
            mask_events(masked);
            let mut frame = user::frame();
            frame[6] = rflags::FIXED | given;
            let caught = program(&frame, &[0; 15]);
            let now = events_masked();
            mask_events(true);
            t.same(format_args!("{name}.{masked}"), now, want);
            t.equal(format_args!("{name}.{masked}.frame"), caught.frame()[2] & rflags::IF, given);
            // The byte above CS says what the mask was (xen/include/public/arch-x86/xen.h, saved_upcall_mask).
            t.equal(format_args!("{name}.{masked}.saved"), caught.frame()[1] >> 32 & 0xff, want.into());
        }
    }
    Ok(())
}

/// A context in the kernel, at code of its own.
fn kernel_frame() -> [u64; 9] {
    let code = code!("mov rax, rsp", "ud2");
    let shown = if ring::is_1() { ring::code().into() } else { u64::from(ring::code()) & !3 };
    let end = STACK.address() + PAGE - 8;
    [0, 0, 0, 0, code.as_ptr() as u64, shown, rflags::FIXED, end, ring::stack().into()]
}

fn kernel(t: &mut Trial) -> Verdict {
    let frame = kernel_frame();
    // SAFETY: the code is two instructions, the latter `ud2`.
    let caught = unsafe { leave(&frame, &[0; 15]) };
    t.raises("kernel", &caught, vector::UD.into(), None);
    t.equal("cs", caught.frame()[1] & 0xffff, ring::shown_code());
    Ok(())
}

fn kernel_stack(t: &mut Trial) -> Verdict {
    let frame = kernel_frame();
    // SAFETY: as above.
    let caught = unsafe { leave(&frame, &[0; 15]) };
    t.equal("rsp", caught.registers[0].wrapping_sub(STACK.address()), PAGE - 8);
    // RCX, R11 and five words, below an end aligned to 16.
    t.equal("frame", caught.rsp.wrapping_sub(STACK.address()), PAGE - 16 - 56);
    Ok(())
}

fn selectors(t: &mut Trial) -> Verdict {
    for (name, cs, ss) in
        [("given", 0xe033, 0xe02b), ("stack-0", 0xe033, 0xe028), ("stack-null", 0xe033, 0xe029)]
    {
        let mut frame = user::frame();
        (frame[5], frame[8]) = (cs, ss);
        let caught = program(&frame, &[0; 15]);
        t.raises(name, &caught, vector::UD.into(), None);
        t.equal(format_args!("{name}.cs"), caught.frame()[1] & 0xffff, 0xe033);
        t.equal(format_args!("{name}.ss"), caught.frame()[4], 0xe02b);
    }
    Ok(())
}

fn no_segment(t: &mut Trial) -> Verdict {
    let mut frame = user::frame();
    frame[5] = 0xb;
    let caught = program(&frame, &[0; 15]);
    t.raises("program", &caught, vector::GP.into(), Some(8));
    t.equal("rip", caught.frame()[0], user::CODE);
    t.equal("cs", caught.frame()[1] & 0xffff, 0xb);
    Ok(())
}

fn unreadable(t: &mut Trial) -> Verdict {
    extern "C" fn call(stack: u64) -> u64 {
        // SAFETY: the domain ends here.
        unsafe {
            if ring::is_1() {
                core::arch::asm!("mov rsp, {0}", "mov eax, 23", "int 0x82", "ud2", in(reg) stack, options(noreturn));
            }
            core::arch::asm!("mov rsp, {0}", "mov eax, 23", "syscall", "ud2", in(reg) stack, options(noreturn));
        }
    }
    // SAFETY: the guard takes what is raised if the domain goes on.
    let caught = unsafe { guarded(call as *const () as u64, pointers::NOTHING) };
    t.raises("call", &caught, vector::UD.into(), None);
    Ok(())
}

fn no_user_table(t: &mut Trial) -> Verdict {
    user::prepare();
    t.succeeds("none", mmuext(MMUEXT_NEW_USER_BASEPTR, 0, 0));
    t.raises("program", &program(&user::frame(), &[0; 15]), vector::UD.into(), None);
    Ok(())
}
