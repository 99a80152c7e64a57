//! The x87, SSE and XSAVE state of a vcpu, and TS (`fpu_taskswitch(set)`, call 5).
//!
//! The state is the guest's own, kept over calls, exceptions, events and whatever runs in between. It begins as the
//! processor's `fninit` leaves it, MXCSR 0x1f80. While TS is set, its use is #NM, and the hypervisor clears TS before it
//! raises that.

use core::arch::asm;

use paravane_abi::hypercall::HYPERVISOR_FPU_TASKSWITCH;
use paravane_abi::trap::vector;
use pv_probe::hypercall::{raw, yield_now};
use pv_probe::memory::Page;

use crate::case::{Case, Row, Stop, Verdict};
use crate::code;
use crate::code::{Half, kernel, run};
use crate::topics::cpuid_of::forced_cpuid;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "floating-point",
    &[
        Case::good("defaults", "control words of the x87 and of SSE", defaults),
        Case::good("kept-over-calls", "XMM registers and the x87 stack over hypercalls", |t| {
            kept(t, Between::Calls)
        }),
        Case::good("kept-over-exceptions", "the same over exceptions", |t| kept(t, Between::Exceptions)),
        Case::good("kept-over-programs", "the same over programs", |t| kept(t, Between::Programs)),
        Case::good("shared-with-programs", "a program has the state of its kernel", shared),
        Case::good("control-word-kept", "MXCSR and the control word over hypercalls", controls),
        Case::good("task-switched-kernel", "#NM of the kernel while TS is set, once", |t| {
            switched(t, Half::Kernel)
        }),
        Case::good("task-switched-program", "the same of a program", |t| switched(t, Half::Program)),
        Case::good("task-switched-sse", "SSE is #NM as well", sse),
        Case::good("task-switched-not", "fpu_taskswitch(0) clears TS", not_switched),
        Case::good("state-behind-no-device", "the state is the old one after #NM", behind),
        Case::good("xsave", "XSAVE stores what is in use", xsave),
    ],
);

fn controls_now() -> (u16, u32) {
    let (mut control, mut mxcsr) = (0u16, 0u32);
    // SAFETY: two stores to this frame.
    unsafe {
        asm!("fnstcw [{}]", in(reg) &raw mut control);
        asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr);
    }
    (control, mxcsr)
}

fn defaults(t: &mut Trial) -> Verdict {
    let (control, mxcsr) = controls_now();
    t.equal("control-word", control.into(), 0x37f);
    t.equal("mxcsr", mxcsr.into(), 0x1f80);
    Ok(())
}

/// Where state is stored.
static AREA: Page = Page::new();

/// Puts known values in XMM0, XMM15 and ST0.
fn load() {
    kernel(
        code!(
            "mov rax, 0x1122334455667788",
            "movq xmm0, rax",
            "mov rax, 0x99aabbccddeeff00",
            "movq xmm15, rax",
            "fninit",
            "fldpi",
            "fld1"
        ),
        0,
    );
}

/// Whether they are there.
fn check(t: &mut Trial, half: Half) {
    let code = code!(
        "movq r12, xmm0",
        "movq r13, xmm15",
        "fistp qword ptr [rsp - 16]",
        "fistp qword ptr [rsp - 8]",
        "mov r14, [rsp - 16]",
        "mov r15, [rsp - 8]",
        "fninit"
    );
    let came = run(half, code, 0);
    t.raises(half.name(), &came.caught, vector::UD.into(), None);
    t.equal("xmm0", came.caught.registers[11], 0x1122_3344_5566_7788);
    t.equal("xmm15", came.caught.registers[12], 0x99aa_bbcc_ddee_ff00);
    t.equal("st0", came.caught.registers[13], 1);
    t.equal("st1", came.caught.registers[14], 3);
}

/// What happens in between.
#[derive(Clone, Copy, Debug)]
enum Between {
    Calls,
    Exceptions,
    Programs,
}

fn kept(t: &mut Trial, between: Between) -> Verdict {
    load();
    for _ in 0..20 {
        match between {
            Between::Calls => yield_now(),
            Between::Exceptions => {
                kernel(code!("int3"), 0);
            }
            Between::Programs => {
                run(Half::Program, code!("nop"), 0);
            }
        }
    }
    check(t, Half::Kernel);
    Ok(())
}

fn shared(t: &mut Trial) -> Verdict {
    load();
    check(t, Half::Program);
    Ok(())
}

fn controls(t: &mut Trial) -> Verdict {
    let (control, mxcsr) = (0x27fu16, 0x9fc0u32);
    // SAFETY: nothing here computes by either.
    unsafe {
        asm!("fldcw [{}]", in(reg) &raw const control);
        asm!("ldmxcsr [{}]", in(reg) &raw const mxcsr);
    }
    (0..5).for_each(|_| yield_now());
    kernel(code!("int3"), 0);
    let now = controls_now();
    let usual = 0x1f80u32;
    // SAFETY: as above.
    unsafe {
        asm!("fninit");
        asm!("ldmxcsr [{}]", in(reg) &raw const usual);
    }
    t.equal("control-word", now.0.into(), control.into());
    t.equal("mxcsr", now.1.into(), mxcsr.into());
    Ok(())
}

fn task_switched(t: &mut Trial, value: u64) -> Verdict {
    t.need("fpu_taskswitch", raw(HYPERVISOR_FPU_TASKSWITCH, [value, 0, 0, 0, 0]))
}

fn switched(t: &mut Trial, half: Half) -> Verdict {
    for value in [1u64, 2, 0x80] {
        task_switched(t, value)?;
        let came = run(half, code!("fnop"), 0);
        t.raises(format_args!("{value:x}.first"), &came.caught, vector::NM.into(), None);
        let came = run(half, code!("fnop"), 0);
        t.raises(format_args!("{value:x}.second"), &came.caught, vector::UD.into(), None);
    }
    Ok(())
}

fn sse(t: &mut Trial) -> Verdict {
    for half in [Half::Kernel, Half::Program] {
        task_switched(t, 1)?;
        run(half, code!("movaps xmm1, xmm2"), 0).expect(t, vector::NM, None, 0);
    }
    Ok(())
}

fn not_switched(t: &mut Trial) -> Verdict {
    task_switched(t, 1)?;
    task_switched(t, 0)?;
    run(Half::Kernel, code!("fnop"), 0).expect(t, vector::UD, None, 2);
    Ok(())
}

fn behind(t: &mut Trial) -> Verdict {
    load();
    task_switched(t, 1)?;
    let came = kernel(code!("fnop"), 0);
    t.raises("no-device", &came.caught, vector::NM.into(), None);
    check(t, Half::Kernel);
    Ok(())
}

fn xsave(t: &mut Trial) -> Verdict {
    if forced_cpuid(1, 0).ecx & 1 << 26 == 0 {
        return Err(Stop::Skip("the processor has no XSAVE"));
    }
    let word = |index: usize| (AREA.address() as *mut u64).wrapping_add(index);
    // SAFETY: words of the page.
    (0..80).for_each(|index| unsafe { word(index).write_volatile(0) });
    let code =
        code!("mov rax, 0x0123456789abcdef", "movq xmm3, rax", "mov eax, 3", "xor edx, edx", "xsave [rdi]");
    let came = kernel(code, AREA.address());
    t.raises("kernel", &came.caught, vector::UD.into(), None);
    // SAFETY: as above. XMM registers are behind 160 bytes, the header behind 512 (SDM volume 1, 13.4).
    let (xmm3, header) = unsafe { (word((160 + 3 * 16) / 8).read_volatile(), word(64).read_volatile()) };
    t.equal("xmm3", xmm3, 0x0123_4567_89ab_cdef);
    t.equal("header", header & 2, 2);
    Ok(())
}
