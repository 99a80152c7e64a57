//! `iretq` of the kernel itself, and the flags that it cannot change.

use paravane_abi::ring1::{RING1_CS64, RING1_SS, USER_CS32, USER_CS64, USER_SS};
use paravane_abi::trap::vector;
use pv_probe::guard::{EVENT, guarded, trap_stack};
use pv_probe::memory::{Page, events_masked, mask_events};
use pv_probe::user;

use super::{good, refusal};
use crate::case::{Case, Verdict};
use crate::code;
use crate::code::{ARITHMETIC, Came, Half, kernel, kernel_address, place};
use crate::topics::port::Port;
use crate::trial::Trial;

/// The cases.
pub const CASES: &[Case] = &[
    good("program", "iretq to a program", program),
    good("program-32", "iretq to a 32-bit program", program32),
    good("program-registers", "iretq leaves all registers alone", registers),
    good("kernel", "iretq of the kernel to itself", itself),
    good("flags", "flags that iretq takes", flags),
    good("interrupt-flag", "a frame without IF returns with IF set all the same", interrupt_flag),
    good("event", "an event that waits is delivered to the program", event),
    good("event-unmasked", "the same with events not masked", event_unmasked),
    good("no-event", "without an event nothing comes between", no_event),
    good("popf", "popf leaves IF set", popf),
    refusal("null-stack", "iretq with no SS is #GP", |t| bad(t, USER_CS64.into(), 0, 0)),
    refusal("ring-0", "iretq to ring 0 is #GP", |t| bad(t, 0xe008, 0xe010, 0xe008)),
    refusal("data-as-code", "iretq to a data segment is #GP", |t| {
        bad(t, USER_SS.into(), USER_SS.into(), 0xe028)
    }),
];

/// What an `iretq` takes.
static FRAME: Page = Page::new();

/// Executes `iretq` with this frame.
fn iretq(frame: [u64; 5]) -> pv_probe::guard::Caught {
    user::prepare();
    // SAFETY: words of the page.
    unsafe { (FRAME.address() as *mut [u64; 5]).write_volatile(frame) };
    place(code!(
        "mov rsp, rdi",
        "mov eax, 0x11",
        "mov ecx, 0x33",
        "mov r11d, 0x44",
        "mov r15d, 0x55",
        "iretq"
    ));
    // SAFETY: what is returned to raises something.
    unsafe { guarded(kernel_address(), FRAME.address()) }
}

/// The same to a program.
fn to_program(code: &[u8], flags: u64, cs: u64) -> Came {
    user::prepare();
    let mut bytes = [0x90; 32];
    bytes[..code.len()].copy_from_slice(code);
    bytes[code.len()..code.len() + 2].copy_from_slice(&[0x0f, 0x0b]);
    user::place(&bytes);
    let caught = iretq([user::CODE, cs, flags, user::STACK_END, USER_SS.into()]);
    Came { caught, half: Half::Program, start: user::CODE, rsp: user::STACK_END }
}

fn program(t: &mut Trial) -> Verdict {
    to_program(code!("nop"), 2, USER_CS64.into()).expect(t, vector::UD, None, 1);
    Ok(())
}

fn program32(t: &mut Trial) -> Verdict {
    let came = to_program(&[0x48], 2, USER_CS32.into());
    t.raises("program", &came.caught, vector::UD.into(), None);
    t.equal("cs", came.caught.frame()[1] & 0xffff, USER_CS32.into());
    t.equal("eax", came.caught.registers[0], 0x10);
    Ok(())
}

fn registers(t: &mut Trial) -> Verdict {
    let came = to_program(code!("nop"), 2, USER_CS64.into());
    t.equal("rax", came.caught.registers[0], 0x11);
    t.equal("rcx", came.caught.pushed[0], 0x33);
    t.equal("r11", came.caught.pushed[1], 0x44);
    t.equal("r15", came.caught.registers[14], 0x55);
    Ok(())
}

fn itself(t: &mut Trial) -> Verdict {
    user::prepare();
    let stack = trap_stack() - 0x400;
    // The second half of the code is what is returned to.
    let target = kernel_address() + 32;
    // SAFETY: words of the page.
    unsafe {
        let frame = [target, RING1_CS64.into(), 0x402, stack, RING1_SS.into()];
        (FRAME.address() as *mut [u64; 5]).write_volatile(frame);
    }
    place(code!("mov rsp, rdi", "iretq", ".skip 27, 0x90", "cld", "ud2"));
    // SAFETY: the code ends in `ud2`.
    let caught = unsafe { guarded(kernel_address(), FRAME.address()) };
    let came = Came { caught, half: Half::Kernel, start: target, rsp: stack };
    came.expect(t, vector::UD, None, 1);
    Ok(())
}

fn flags(t: &mut Trial) -> Verdict {
    for bits in [0u64, 0x8d5, 0x400, 0x4000, 0x4_0000, 0x20_0000, 0x3000] {
        let came = to_program(code!("ud2"), bits | 2, USER_CS64.into());
        t.raises(format_args!("{bits:x}"), &came.caught, vector::UD.into(), None);
        // IOPL is not ring 1's to change.
        t.equal(format_args!("{bits:x}.rflags"), came.caught.frame()[2], bits & !0x3000 | 2);
    }
    Ok(())
}

fn interrupt_flag(t: &mut Trial) -> Verdict {
    for bits in [2u64, 0x202] {
        let came = to_program(code!("pushfq", "pop r14"), bits, USER_CS64.into());
        t.raises(format_args!("{bits:x}"), &came.caught, vector::UD.into(), None);
        t.equal(format_args!("{bits:x}.seen"), came.caught.registers[13] & 0x200, 0x200);
    }
    Ok(())
}

fn event(t: &mut Trial) -> Verdict {
    let port = Port::bind()?;
    t.need("send", port.send())?;
    let came = to_program(code!("2: jmp 2b"), 0x202, USER_CS64.into());
    t.raises("upcall", &came.caught, EVENT, None);
    t.same("masked", events_masked(), true);
    let [rip, cs, _, rsp, _] = came.caught.frame();
    t.equal("rip", rip.wrapping_sub(came.start), 0);
    t.equal("cs", cs & 0xffff, USER_CS64.into());
    t.equal("rsp", rsp.wrapping_sub(came.rsp), 0);
    t.holds("pushed-at", came.caught.rsp == trap_stack() - 7 * 8);
    Ok(())
}

fn event_unmasked(t: &mut Trial) -> Verdict {
    // The program's page is written before events are unmasked; what little lies between makes no call.
    let port = Port::bind()?;
    t.need("send", port.send())?;
    user::prepare();
    user::place(code!("2: jmp 2b"));
    // SAFETY: words of the page.
    unsafe {
        let frame = [user::CODE, USER_CS64.into(), 0x202, user::STACK_END, USER_SS.into()];
        (FRAME.address() as *mut [u64; 5]).write_volatile(frame);
        (FRAME.address() as *mut u64).add(5).write_volatile(crate::topics::port::mask_address());
    }
    place(code!("mov rsp, rdi", "mov rax, [rdi + 40]", "mov byte ptr [rax], 0", "iretq"));
    // SAFETY: an upcall ends it.
    let caught = unsafe { guarded(kernel_address(), FRAME.address()) };
    let seen = events_masked();
    mask_events(true);
    t.raises("upcall", &caught, EVENT, None);
    t.same("masked", seen, true);
    t.equal("rip", caught.frame()[0], user::CODE);
    t.equal("cs", caught.frame()[1], USER_CS64.into());
    Ok(())
}

fn no_event(t: &mut Trial) -> Verdict {
    for round in 0..3 {
        let came = to_program(code!("nop"), 0x202, USER_CS64.into());
        t.raises(format_args!("{round}"), &came.caught, vector::UD.into(), None);
    }
    Ok(())
}

fn popf(t: &mut Trial) -> Verdict {
    let came = kernel(code!("push 2", "popfq", "pushfq", "pop r14"), 0);
    t.raises("kernel", &came.caught, vector::UD.into(), None);
    t.equal("seen", came.caught.registers[13] & !ARITHMETIC, 0x202);
    t.same("masked", events_masked(), true);
    Ok(())
}

fn bad(t: &mut Trial, cs: u64, ss: u64, error: u64) -> Verdict {
    let caught = iretq([user::CODE, cs, 2, user::STACK_END, ss]);
    t.raises("kernel", &caught, vector::GP.into(), Some(error));
    // The kernel's own instruction is the one refused.
    t.holds("cs", caught.frame()[1] & 0xffff == u64::from(RING1_CS64));
    t.holds("rsp", caught.frame()[3] == FRAME.address());
    Ok(())
}
