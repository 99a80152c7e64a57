//! Breakpoints and single steps (SDM volume 3, chapter 17; `set_debugreg`, `get_debugreg`).
//!
//! DR0 to DR3 and DR7 are the guest's own; a condition raises #DB, at the instruction for execution and behind it otherwise. DR6
//! tells the conditions until the guest clears it: bits 0 to 3, and 14 for a single step. TF is clear in the handler.

use paravane_abi::hypercall::{HYPERVISOR_GET_DEBUGREG, HYPERVISOR_SET_DEBUGREG};
use paravane_abi::trap::vector;
use pv_probe::hypercall::raw;
use pv_probe::memory::Page;
use pv_probe::user;

use crate::case::{Case, Row, Verdict};
use crate::code;
use crate::code::{ARITHMETIC, Came, Half, kernel, kernel_address, program, program_with, run};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "debug-exceptions",
    &[
        Case::good("step-kernel", "a single step of the kernel", |t| step(t, Half::Kernel)),
        Case::good("step-program", "a single step of a program", |t| step(t, Half::Program)),
        Case::good("step-by-iret", "a program returned to with TF set", step_by_iret),
        Case::good("step-again", "each instruction is a step", step_again),
        Case::good("execute-kernel", "a breakpoint at an instruction of the kernel", |t| {
            execute(t, Half::Kernel)
        }),
        Case::good("execute-program", "a breakpoint at an instruction of a program", |t| {
            execute(t, Half::Program)
        }),
        Case::good("write", "a breakpoint at writes", write),
        Case::good("read-write", "a breakpoint at reads and writes", read_write),
        Case::good("four", "four breakpoints, four bits of DR6", four),
        Case::good("status-stays", "DR6 keeps its bits until it is written", status_stays),
        Case::good("resume-flag", "RF passes one breakpoint", resume_flag),
        Case::good("disarmed", "a breakpoint that is not enabled", disarmed),
        Case::good("int3-is-none", "int3 leaves DR6 alone", int3),
    ],
);

fn get(number: u64) -> u64 {
    raw(HYPERVISOR_GET_DEBUGREG, [number, 0, 0, 0, 0]) as u64
}

fn set(number: u64, value: u64) -> i64 {
    raw(HYPERVISOR_SET_DEBUGREG, [number, value, 0, 0, 0])
}

/// Bits of DR6 that tell conditions.
const CONDITIONS: u64 = 0xe00f;

/// Sets breakpoint 0 and what it is for; DR6 begins without conditions.
fn arm(t: &mut Trial, address: u64, control: u64) -> Verdict {
    t.need("dr6", set(6, 0))?;
    t.need("dr0", set(0, address))?;
    t.need("dr7", set(7, control))
}

fn clear(t: &mut Trial) -> Verdict {
    t.need("dr7", set(7, 0x400))?;
    for number in 0..4 {
        t.need("address", set(number, 0))?;
    }
    t.need("dr6", set(6, 0))
}

fn step(t: &mut Trial, half: Half) -> Verdict {
    t.need("dr6", set(6, 0))?;
    let came = run(half, code!("pushfq", "or dword ptr [rsp], 0x100", "popfq", "nop", "nop"), 0);
    let status = get(6);
    t.raises("step", &came.caught, vector::DB.into(), None);
    t.equal("rip", came.caught.frame()[0].wrapping_sub(came.start), 10);
    t.equal("rflags", came.flags(), 0x102);
    t.equal("handler", came.caught.rflags & !ARITHMETIC, 0x202);
    t.equal("status", status & CONDITIONS, 0x4000);
    clear(t)
}

fn step_by_iret(t: &mut Trial) -> Verdict {
    t.need("dr6", set(6, 0))?;
    let mut frame = user::frame();
    frame[6] |= 0x100;
    let came = program_with(code!("nop", "nop"), &frame, &[0; 15]);
    t.raises("step", &came.caught, vector::DB.into(), None);
    t.equal("rip", came.caught.frame()[0].wrapping_sub(came.start), 1);
    t.equal("status", get(6) & CONDITIONS, 0x4000);
    clear(t)
}

fn step_again(t: &mut Trial) -> Verdict {
    let mut frame = user::frame();
    frame[6] |= 0x100;
    for wanted in 1..4u64 {
        let came = program_with(code!("nop", "nop", "nop", "nop"), &frame, &[0; 15]);
        t.raises(format_args!("{wanted}"), &came.caught, vector::DB.into(), None);
        let [rip, _, rflags, ..] = came.caught.frame();
        t.equal(format_args!("{wanted}.rip"), rip.wrapping_sub(user::CODE), wanted);
        (frame[4], frame[6]) = (rip, rflags);
    }
    clear(t)
}

fn execute(t: &mut Trial, half: Half) -> Verdict {
    user::prepare();
    let base = if half == Half::Kernel { kernel_address() } else { user::CODE };
    arm(t, base + 2, 0x402)?;
    let came = run(half, code!("nop", "nop", "nop", "nop"), 0);
    let status = get(6);
    clear(t)?;
    came.expect_debug(t, 2);
    t.equal("status", status & CONDITIONS, 1);
    Ok(())
}

impl Came {
    /// A #DB at this distance from the start.
    fn expect_debug(&self, t: &mut Trial, distance: u64) {
        t.raises("debug", &self.caught, vector::DB.into(), None);
        t.equal("rip", self.caught.frame()[0].wrapping_sub(self.start), distance);
    }
}

/// What breakpoints watch.
static WATCHED: Page = Page::new();

fn write(t: &mut Trial) -> Verdict {
    // Eight bytes, writes.
    arm(t, WATCHED.address(), 0x9_0402)?;
    let came =
        kernel(code!("mov rax, [rdi]", "mov [rdi + 8], rax", "mov [rdi], rax", "nop"), WATCHED.address());
    let status = get(6);
    clear(t)?;
    // Behind the third instruction: the read and the write beside it are none of it.
    came.expect_debug(t, 10);
    t.equal("status", status & CONDITIONS, 1);
    Ok(())
}

fn read_write(t: &mut Trial) -> Verdict {
    arm(t, WATCHED.address() + 4, 0xf_0402)?;
    let came = kernel(code!("mov eax, [rdi]", "mov eax, [rdi + 4]", "nop"), WATCHED.address());
    let status = get(6);
    clear(t)?;
    came.expect_debug(t, 5);
    t.equal("status", status & CONDITIONS, 1);
    Ok(())
}

fn four(t: &mut Trial) -> Verdict {
    for number in 0..4u64 {
        t.need("dr6", set(6, 0))?;
        for other in 0..4 {
            t.need("address", set(other, kernel_address() + other + 1))?;
        }
        t.need("dr7", set(7, 0x400 | 2 << (number * 2)))?;
        let came = kernel(code!("nop", "nop", "nop", "nop", "nop"), 0);
        let status = get(6);
        t.raises(format_args!("{number}"), &came.caught, vector::DB.into(), None);
        t.equal(format_args!("{number}.rip"), came.caught.frame()[0].wrapping_sub(came.start), number + 1);
        t.equal(format_args!("{number}.status"), status & CONDITIONS, 1 << number);
        t.equal(format_args!("{number}.address"), get(number).wrapping_sub(kernel_address()), number + 1);
    }
    clear(t)
}

fn status_stays(t: &mut Trial) -> Verdict {
    arm(t, kernel_address() + 1, 0x402)?;
    kernel(code!("nop", "nop"), 0);
    t.need("dr7", set(7, 0x400))?;
    t.equal("first", get(6) & CONDITIONS, 1);
    kernel(code!("pushfq", "or dword ptr [rsp], 0x100", "popfq", "nop"), 0);
    t.equal("second", get(6) & 0x4000, 0x4000);
    t.need("dr6", set(6, 0))?;
    t.equal("cleared", get(6) & CONDITIONS, 0);
    clear(t)
}

fn resume_flag(t: &mut Trial) -> Verdict {
    user::prepare();
    arm(t, user::CODE, 0x402)?;
    let came = program(code!("nop"), 0);
    t.raises("without", &came.caught, vector::DB.into(), None);
    let mut frame = user::frame();
    frame[6] |= 0x1_0000;
    let came = program_with(code!("nop"), &frame, &[0; 15]);
    t.raises("with", &came.caught, vector::UD.into(), None);
    clear(t)
}

fn disarmed(t: &mut Trial) -> Verdict {
    arm(t, kernel_address() + 1, 0x400)?;
    let came = kernel(code!("nop", "nop"), 0);
    t.raises("kernel", &came.caught, vector::UD.into(), None);
    t.equal("status", get(6) & CONDITIONS, 0);
    clear(t)
}

fn int3(t: &mut Trial) -> Verdict {
    t.need("dr6", set(6, 0))?;
    kernel(code!("int3"), 0).expect(t, vector::BP, None, 1);
    t.equal("status", get(6) & CONDITIONS, 0);
    Ok(())
}
