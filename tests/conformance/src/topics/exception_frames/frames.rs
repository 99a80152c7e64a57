//! What is in a frame besides: registers, flags, the event mask, and where it lies.

use paravane_abi::ring1::{RING1_CS64, RING1_SS};
use paravane_abi::trap::{TrapFlags, TrapInfo, vector};
use pv_probe::guard::stub;
use pv_probe::hypercall::raw;
use pv_probe::memory::events_masked;
use pv_probe::{ring, user};

use crate::case::{Case, Verdict};
use crate::code;
use crate::code::{
    ARITHMETIC, Came, Half, SAVED_MASK, kernel, kernel_address, place, program_with, run, unmasked,
};
use crate::trial::Trial;

/// A case of flags: what the code makes of them is in the frame, and these of them in the handler.
macro_rules! flags {
    ($name:literal, $half:ident, $shown:literal, $handler:literal, $($line:literal),+) => {
        Case::good($name, concat!("RFLAGS of frame and handler after ", $($line, "; "),+), |t| {
            flags(t, Half::$half, $shown, $handler, code!($($line),+))
        })
    };
}

/// The cases.
pub const CASES: &[Case] = &[
    Case::good("kernel-registers", "all registers in the handler and in the frame", |t| {
        registers(t, Half::Kernel)
    }),
    Case::good("program-registers", "the same of a program", |t| registers(t, Half::Program)),
    Case::good("kernel-alignment", "the frame's end is aligned, wherever RSP points", alignment),
    Case::good("kernel-unmasked", "an exception while events are not masked", |t| open(t, Half::Kernel)),
    Case::good("program-unmasked", "the same of a program", |t| open(t, Half::Program)),
    Case::good("kernel-masks", "a handler that asks for masked events", |t| masks(t, Half::Kernel)),
    Case::good("program-masks", "the same of a program", |t| masks(t, Half::Program)),
    Case::good("nested", "an exception in an exception's handler", nested),
    Case::good("nested-in-program", "the same, the first one being a program's", nested_in_program),
    Case::good("handler-selectors", "CS and SS in the handler", selectors),
    flags!("kernel-direction", Kernel, 0x402, 0x602, "std", "ud2"),
    flags!("program-direction", Program, 0x402, 0x602, "std", "ud2"),
    flags!(
        "kernel-nested-task",
        Kernel,
        0x4002,
        0x202,
        "pushfq",
        "or dword ptr [rsp], 0x4000",
        "popfq",
        "ud2"
    ),
    flags!(
        "program-nested-task",
        Program,
        0x4002,
        0x202,
        "pushfq",
        "or dword ptr [rsp], 0x4000",
        "popfq",
        "ud2"
    ),
    flags!(
        "kernel-alignment-check",
        Kernel,
        0x4_0002,
        0x202,
        "pushfq",
        "or dword ptr [rsp], 0x40000",
        "popfq",
        "ud2"
    ),
    flags!(
        "program-alignment-check",
        Program,
        0x4_0002,
        0x202,
        "pushfq",
        "or dword ptr [rsp], 0x40000",
        "popfq",
        "ud2"
    ),
    flags!(
        "kernel-identification",
        Kernel,
        0x20_0002,
        0x20_0202,
        "pushfq",
        "or dword ptr [rsp], 0x200000",
        "popfq",
        "ud2"
    ),
    flags!(
        "program-identification",
        Program,
        0x20_0002,
        0x20_0202,
        "pushfq",
        "or dword ptr [rsp], 0x200000",
        "popfq",
        "ud2"
    ),
    flags!(
        "kernel-privilege-level",
        Kernel,
        2,
        0x202,
        "pushfq",
        "or dword ptr [rsp], 0x3000",
        "popfq",
        "ud2"
    ),
    flags!(
        "kernel-interrupts-stay-on",
        Kernel,
        2,
        0x202,
        "pushfq",
        "and dword ptr [rsp], 0xfffffdff",
        "popfq",
        "ud2"
    ),
    Case::good("arithmetic-flags", "carry, parity, adjust, zero, sign and overflow are kept", arithmetic),
];

/// Values for RAX, RBX, RCX, RDX, RSI, RDI, RBP, R8 to R15 that the code below sets.
fn values() -> [u64; 15] {
    core::array::from_fn(|index| 0x1111 * (index as u64 + 1))
}

fn registers(t: &mut Trial, half: Half) -> Verdict {
    let code = code!(
        "mov eax, 0x1111",
        "mov ebx, 0x2222",
        "mov ecx, 0x3333",
        "mov edx, 0x4444",
        "mov esi, 0x5555",
        "mov edi, 0x6666",
        "mov ebp, 0x7777",
        "mov r8d, 0x8888",
        "mov r9d, 0x9999",
        "mov r10d, 0xaaaa",
        "mov r11d, 0xbbbb",
        "mov r12d, 0xcccc",
        "mov r13d, 0xdddd",
        "mov r14d, 0xeeee",
        "mov r15d, 0xffff",
        "ud2"
    );
    let came = run(half, code, 0);
    let mut wanted = values();
    t.equal("frame.rcx", came.caught.pushed[0], wanted[2]);
    t.equal("frame.r11", came.caught.pushed[1], wanted[10]);
    if !ring::is_1() {
        // `sysret` takes RIP and RFLAGS from there.
        (wanted[2], wanted[10]) = (stub(vector::UD.into()), came.caught.rflags);
    }
    t.holds("handler", came.caught.registers == wanted);
    Ok(())
}

fn alignment(t: &mut Trial) -> Verdict {
    for distance in [0u64, 1, 3, 8, 12, 15, 16] {
        let came = kernel(code!("sub rsp, rdi", "ud2"), distance);
        let rsp = came.caught.frame()[3];
        t.equal(format_args!("{distance}.rsp"), came.rsp.wrapping_sub(rsp), distance);
        t.holds(format_args!("{distance}.pushed-at"), came.caught.rsp == (rsp & !15) - 7 * 8);
    }
    // The same with an error code.
    let came = kernel(code!("sub rsp, rdi", "hlt"), 1);
    let rsp = came.caught.frame()[3];
    t.holds("error-code.pushed-at", came.caught.rsp == (rsp & !15) - 8 * 8);
    Ok(())
}

/// Runs an invalid opcode with events unmasked, and tells whether they are masked in the handler.
fn unmasked_opcode(half: Half) -> (Came, bool) {
    unmasked(|| {
        let came = match half {
            Half::Kernel => kernel(code!("ud2"), 0),
            Half::Program => {
                let mut frame = user::frame();
                frame[6] |= 0x200;
                program_with(code!("ud2"), &frame, &[0; 15])
            }
        };
        (came, events_masked())
    })
}

fn open(t: &mut Trial, half: Half) -> Verdict {
    let (came, masked) = unmasked_opcode(half);
    t.raises("opcode", &came.caught, vector::UD.into(), None);
    let frame = came.caught.frame();
    t.holds("cs", frame[1] == came.shown_code());
    t.equal("rflags", came.flags(), 0x202);
    t.same("masked-in-handler", masked, false);
    Ok(())
}

fn set_handler(t: &mut Trial, flags: TrapFlags, address: u64) -> Verdict {
    let table =
        [TrapInfo::new(vector::UD, flags, ring::code(), address), TrapInfo::new(0, TrapFlags::empty(), 0, 0)];
    t.need(
        "set_trap_table",
        raw(paravane_abi::hypercall::HYPERVISOR_SET_TRAP_TABLE, [table.as_ptr() as u64, 0, 0, 0, 0]),
    )
}

fn masks(t: &mut Trial, half: Half) -> Verdict {
    set_handler(t, TrapFlags::MASK_EVENTS, stub(vector::UD.into()))?;
    let (came, masked) = unmasked_opcode(half);
    t.raises("opcode", &came.caught, vector::UD.into(), None);
    t.holds("cs", came.caught.frame()[1] == came.shown_code());
    t.same("masked-in-handler", masked, true);
    Ok(())
}

/// The code's first part, then an invalid opcode's handler at 64: it divides by zero.
fn faulting_handler() -> &'static [u8] {
    code!("ud2", ".skip 62, 0x90", "xor ecx, ecx", "div ecx")
}

fn nested(t: &mut Trial) -> Verdict {
    set_handler(t, TrapFlags::empty(), kernel_address() + 64)?;
    let came = kernel(faulting_handler(), 0);
    t.raises("second", &came.caught, vector::DE.into(), None);
    let [rip, cs, _, rsp, _] = came.caught.frame();
    t.equal("rip", rip.wrapping_sub(came.start), 66);
    t.holds("cs", cs == ring::shown_code() | SAVED_MASK);
    // The second frame lies below the first.
    let first = (came.rsp & !15) - 7 * 8;
    t.holds("rsp", rsp == first);
    t.holds("pushed-at", came.caught.rsp == (first & !15) - 7 * 8);
    Ok(())
}

fn nested_in_program(t: &mut Trial) -> Verdict {
    set_handler(t, TrapFlags::empty(), kernel_address() + 64)?;
    place(faulting_handler());
    let came = run(Half::Program, code!("ud2"), 0);
    t.raises("second", &came.caught, vector::DE.into(), None);
    let [rip, cs, _, rsp, _] = came.caught.frame();
    t.equal("rip", rip.wrapping_sub(kernel_address()), 66);
    t.holds("cs", cs == ring::shown_code() | SAVED_MASK);
    t.holds("rsp", rsp == pv_probe::guard::trap_stack() - 7 * 8);
    Ok(())
}

fn selectors(t: &mut Trial) -> Verdict {
    // The handler puts its selectors in registers that a frame does not have, and goes on to raise another exception.
    set_handler(t, TrapFlags::empty(), kernel_address() + 64)?;
    place(code!("ud2", ".skip 62, 0x90", "mov r14d, cs", "mov r15d, ss", "xor ecx, ecx", "div ecx"));
    let (code, stack) = if ring::is_1() { (RING1_CS64, RING1_SS) } else { (ring::code(), ring::stack()) };
    for half in [Half::Kernel, Half::Program] {
        let came = match half {
            // SAFETY: the code placed above ends in an exception.
            Half::Kernel => unsafe { pv_probe::guard::guarded(kernel_address(), 0) },
            Half::Program => run(Half::Program, code!("ud2"), 0).caught,
        };
        t.holds(format_args!("{}.cs", half.name()), came.registers[13] == u64::from(code));
        t.holds(format_args!("{}.ss", half.name()), came.registers[14] == u64::from(stack));
    }
    Ok(())
}

fn flags(t: &mut Trial, half: Half, shown: u64, handler: u64, code: &[u8]) -> Verdict {
    let came = run(half, code, 0);
    t.raises("opcode", &came.caught, vector::UD.into(), None);
    t.equal("frame", came.flags(), shown);
    t.equal("handler", came.caught.rflags & !ARITHMETIC, handler);
    Ok(())
}

fn arithmetic(t: &mut Trial) -> Verdict {
    for half in [Half::Kernel, Half::Program] {
        for bits in [0, ARITHMETIC, 0x41, 0x884] {
            let came = run(half, code!("push rdi", "popfq", "ud2"), bits);
            let name = half.name();
            t.equal(format_args!("{name}.{bits:x}.frame"), came.caught.frame()[2] & ARITHMETIC, bits);
            t.equal(format_args!("{name}.{bits:x}.handler"), came.caught.rflags & ARITHMETIC, bits);
        }
    }
    Ok(())
}
