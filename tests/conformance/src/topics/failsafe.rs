//! The failsafe callback (xen/include/public/callback.h, `CALLBACKTYPE_failsafe`).
//!
//! When a vcpu is given the processor and one of its data selectors cannot be loaded, the selector becomes null, and the
//! vcpu enters the failsafe callback instead of going on. The frame has DS, ES, FS and GS as they were wanted, between R11
//! and RIP. A vcpu that begins with such selectors begins there: the one way that needs no second domain.

use core::sync::atomic::{AtomicU64, Ordering};

use pv_probe::hypercall::yield_now;
use pv_probe::memory::Page;
use pv_probe::{ring, vcpus};

use crate::case::{Case, Rings, Row, Stop, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "failsafe",
    &[Case::good("new-vcpu", "a vcpu whose selectors cannot be loaded begins in the callback", new_vcpu)
        .rings(Rings::Three("vcpus of a kernel in ring 1 begin with null selectors"))],
);

// The callback: it keeps its frame and its selectors, and goes on at the vcpu's first instruction.
core::arch::global_asm!(
    ".pushsection .text.conformance_failsafe, \"ax\", @progbits",
    "conformance_failsafe:",
    "    lea rax, [rip + conformance_failsafe_words]",
    "    mov ecx, 11",
    "    mov rsi, rsp",
    "    lea rdi, [rax + 8]",
    "    cld",
    "    rep movsq",
    "    mov ecx, ds",
    "    mov [rax + 96], rcx",
    "    mov ecx, fs",
    "    mov [rax + 104], rcx",
    "    mov [rax + 112], rsp",
    "    mov qword ptr [rax], 1",
    "    mov rcx, [rsp + 48]",
    "    mov rsp, [rsp + 72]",
    "    jmp rcx",
    ".popsection"
);

unsafe extern "C" {
    fn conformance_failsafe();
}

/// Whether the callback was entered, eleven words of its frame, DS and FS in it, and its RSP.
#[unsafe(no_mangle)]
static conformance_failsafe_words: [AtomicU64; 15] = [const { AtomicU64::new(0) }; 15];

fn word(index: usize) -> u64 {
    conformance_failsafe_words[index].load(Ordering::SeqCst)
}

extern "C" fn nothing(argument: u64) -> u64 {
    argument
}

/// A stack of the vcpu's first moments.
static STACK: Page = Page::new();

fn new_vcpu(t: &mut Trial) -> Verdict {
    if !vcpus::exists(1) || vcpus::is_initialised(1) {
        return Err(Stop::Skip("there is no vcpu that has not begun"));
    }
    let mut context = vcpus::context(1);
    let (rip, rsp) = (context.user_regs.rip, context.user_regs.rsp);
    // A selector of the guest's own table, which is empty; one that is good; null.
    (context.user_regs.ds, context.user_regs.es) = (0x43, 0xe02b);
    (context.user_regs.fs, context.user_regs.gs) = (0x4b, 0);
    context.failsafe_callback_eip = conformance_failsafe as *const () as u64;
    context.kernel_sp = STACK.address() + 4096;
    t.need("initialise", vcpus::initialise(1, &mut context))?;
    let caught = vcpus::run(1, nothing, 7);
    for _ in 0..1000 {
        if word(0) != 0 {
            break;
        }
        yield_now();
    }
    t.equal("entered", word(0), 1);
    let caught = caught.ok_or(Stop::Error("vcpu 1 goes on and on", 0))?;
    t.equal("went-on", caught.registers[0], 7);
    t.equal("ds", word(3), 0x43);
    t.equal("es", word(4), 0xe02b);
    t.equal("fs", word(5), 0x4b);
    t.equal("gs", word(6), 0);
    t.holds("rip", word(7) == rip);
    t.holds("cs", word(8) & 0xffff == ring::shown_code());
    t.holds("rsp", word(10) == rsp);
    t.holds("ss", word(11) == u64::from(ring::stack()));
    t.equal("ds-in-callback", word(12), 0);
    t.equal("fs-in-callback", word(13), 0);
    t.holds("pushed-at", word(14) == (rsp & !15) - 11 * 8);
    Ok(())
}
