//! Each vector that code can raise by itself, from the kernel and from a program: its number, its error code, and a
//! frame in which everything is right. Faults show the instruction that raised them, traps the one behind.
//!
//! #BR exists in 32-bit code alone. #TS has nothing left to raise it in 64-bit mode, and #AC and #XM are not raised by the
//! emulator that the suite runs on.

use core::arch::asm;

use paravane_abi::hypercall::HYPERVISOR_FPU_TASKSWITCH;
use paravane_abi::ring1::USER_CS32;
use paravane_abi::trap::vector;
use pv_probe::hypercall::raw;
use pv_probe::{ring, user};

use crate::case::{Case, Verdict};
use crate::code;
use crate::code::{Half, program_with, run};
use crate::topics::gdt::{self, DATA, Gdt, NOT_PRESENT};
use crate::trial::Trial;

/// A case: its name, the half, the vector, its error code, the distance of the frame's RIP from the end of the code, and
/// the code.
macro_rules! raised {
    ($name:literal, $half:ident, $vector:ident, $error:expr, $back:literal, $($line:literal),+) => {
        Case::good($name, concat!("the frame of ", stringify!($vector), " after ", $($line, "; "),+), |t| {
            raised(t, Half::$half, vector::$vector, $error, code!($($line),+), $back)
        })
    };
}

/// The cases.
pub const CASES: &[Case] = &[
    raised!("kernel-divide", Kernel, DE, None, 2, "xor ecx, ecx", "div ecx"),
    raised!("program-divide", Program, DE, None, 2, "xor ecx, ecx", "div ecx"),
    raised!("kernel-breakpoint", Kernel, BP, None, 0, "int3"),
    raised!("program-breakpoint", Program, BP, None, 0, "int3"),
    raised!("kernel-breakpoint-by-number", Kernel, BP, None, 0, ".byte 0xcd, 3"),
    raised!("program-breakpoint-by-number", Program, BP, None, 0, ".byte 0xcd, 3"),
    raised!("kernel-overflow", Kernel, OF, None, 0, "int 4"),
    raised!("program-overflow", Program, OF, None, 0, "int 4"),
    raised!("kernel-invalid-opcode", Kernel, UD, None, 2, "ud2"),
    raised!("program-invalid-opcode", Program, UD, None, 2, "ud2"),
    raised!("kernel-protection", Kernel, GP, Some(0), 1, "hlt"),
    raised!("program-protection", Program, GP, Some(0), 1, "hlt"),
    raised!("kernel-protection-selector", Kernel, GP, Some(0xfff0), 2, "mov eax, 0xfff3", "mov ds, eax"),
    raised!("program-protection-selector", Program, GP, Some(0xfff0), 2, "mov eax, 0xfff3", "mov ds, eax"),
    Case::good("kernel-no-device", "floating point while the task is switched", |t| {
        no_device(t, Half::Kernel)
    }),
    Case::good("program-no-device", "the same of a program", |t| no_device(t, Half::Program)),
    Case::good("kernel-floating-point", "an unmasked division by zero of the x87", |t| x87(t, Half::Kernel)),
    Case::good("program-floating-point", "the same of a program", |t| x87(t, Half::Program)),
    Case::good("kernel-not-present", "a segment that is not present", |t| not_present(t, Half::Kernel)),
    Case::good("program-not-present", "the same of a program", |t| not_present(t, Half::Program)),
    Case::good("kernel-stack-segment", "a stack segment that is not present", |t| stack(t, Half::Kernel)),
    Case::good("program-stack-segment", "the same of a program", |t| stack(t, Half::Program)),
    Case::good("program-bound-range", "BOUND of a 32-bit program", bound),
    Case::good("program-into", "INTO of a 32-bit program", into),
];

fn raised(t: &mut Trial, half: Half, vector: u8, error: Option<u64>, code: &[u8], back: u64) -> Verdict {
    run(half, code, 0).expect(t, vector, error, code.len() as u64 - back);
    Ok(())
}

fn no_device(t: &mut Trial, half: Half) -> Verdict {
    t.need("fpu_taskswitch", raw(HYPERVISOR_FPU_TASKSWITCH, [1, 0, 0, 0, 0]))?;
    let came = run(half, code!("fnop"), 0);
    came.expect(t, vector::NM, None, 0);
    // The hypervisor has cleared TS.
    run(half, code!("fnop"), 0).expect(t, vector::UD, None, 2);
    Ok(())
}

fn x87(t: &mut Trial, half: Half) -> Verdict {
    let code = code!(
        "fninit",
        "mov word ptr [rsp - 16], 0x37b",
        "fldcw [rsp - 16]",
        "fld1",
        "fldz",
        "fdivp st(1), st",
        "fwait"
    );
    let came = run(half, code, 0);
    // SAFETY: nothing here computes by the x87.
    unsafe { asm!("fninit", options(nostack)) };
    came.expect(t, vector::MF, None, code.len() as u64 - 1);
    Ok(())
}

fn not_present(t: &mut Trial, half: Half) -> Verdict {
    let gdt = Gdt::install(&[(5, NOT_PRESENT)])?;
    let code = code!("mov eax, 0x2b", "mov es, eax");
    run(half, code, 0).expect(t, vector::NP, Some(0x28), code.len() as u64 - 2);
    gdt.remove()
}

fn stack(t: &mut Trial, half: Half) -> Verdict {
    // The stack segment has the privilege of the code.
    let level = match half {
        Half::Kernel => u64::from(ring::stack() & 3),
        Half::Program => 3,
    };
    let gdt = Gdt::install(&[(5, gdt::with_level(NOT_PRESENT, level)), (6, DATA)])?;
    let code = code!("mov ss, edi");
    run(half, code, 0x28 | level).expect(t, vector::SS, Some(0x28), 0);
    gdt.remove()
}

/// Where 32-bit programs run: their code and stack lie below 4 GiB.
fn frame32() -> [u64; 9] {
    let mut frame = user::frame();
    frame[5] = USER_CS32.into();
    frame
}

fn program32(t: &mut Trial, code: &[u8], vector: u8, back: u64) -> Verdict {
    let came = program_with(code, &frame32(), &[0; 15]);
    t.raises("program", &came.caught, vector.into(), None);
    let [rip, cs, _, rsp, _] = came.caught.frame();
    t.equal("rip", rip.wrapping_sub(came.start), code.len() as u64 - back);
    t.equal("cs", cs & 0xffff, USER_CS32.into());
    t.equal("rsp", rsp.wrapping_sub(came.rsp), 0);
    Ok(())
}

fn bound(t: &mut Trial) -> Verdict {
    // or eax, -1; bound eax, [esp - 16]: the limits are whatever lies there, zeroes.
    let code = [
        0xc7, 0x44, 0x24, 0xf0, 0, 0, 0, 0, 0xc7, 0x44, 0x24, 0xf4, 0, 0, 0, 0, 0x83, 0xc8, 0xff, 0x62, 0x44,
        0x24, 0xf0,
    ];
    program32(t, &code, vector::BR, 4)
}

fn into(t: &mut Trial) -> Verdict {
    // mov eax, 0x7fffffff; add eax, 1; into
    program32(t, &[0xb8, 0xff, 0xff, 0xff, 0x7f, 0x83, 0xc0, 1, 0xce], vector::OF, 0)
}
