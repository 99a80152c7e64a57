//! Debug registers, by hypercall and by instruction.

use core::arch::asm;

use paravane_abi::hypercall::{HYPERVISOR_GET_DEBUGREG, HYPERVISOR_SET_DEBUGREG};

use crate::case::Case;
use crate::observe;
use pv_probe::guard::{guard_rsp, guarded};
use pv_probe::hypercall::{code, raw};

/// The case.
pub const CASE: Case = super::observation(
    "debug-registers",
    "debug registers: what is kept of what is written, and the exceptions they make",
    |_| {
        observe();
        Ok(())
    },
);

fn get(number: u64) -> i64 {
    raw(HYPERVISOR_GET_DEBUGREG, [number, 0, 0, 0, 0])
}

fn set(number: u64, value: u64) -> i64 {
    raw(HYPERVISOR_SET_DEBUGREG, [number, value, 0, 0, 0])
}

fn observe() {
    for number in 0..8 {
        observe!(("at-start.{number}"), "{}", code(get(number)));
    }
    for number in [0u64, 1, 2, 3, 4, 5, 6, 7] {
        for value in [
            0u64,
            0x1000,
            0x7fff_ffff_ffff,
            0x8000_0000_0000,
            0xffff_8000_0000_0000,
            0xffff_8800_0000_0000,
            u64::MAX,
            0xffff_ffff,
            0x400,
            0x2400,
            0x1_0000,
            0x2_0000,
            0xffff,
            0xe00f,
        ] {
            let result = set(number, value);
            observe!(("set.{number}.{value:x}"), "{}: {}", code(result), code(get(number)));
        }
        set(number, if number == 7 { 0x400 } else { 0 });
    }
    // Breakpoints: address, then what is armed.
    set(0, touched as *const () as u64);
    for dr7 in [
        0x402u64,
        0x1,
        0x401,
        0x700,
        0x0001_0402,
        0x000d_0402,
        0x000f_0402,
        0x0002_0402,
        0x0004_0402,
        0x0100_0402,
        0x1_0003_0402,
    ] {
        let result = set(7, dr7);
        observe!(("arm.{dr7:x}"), "{}: {}", code(result), code(get(7)));
    }
    set(7, 0);
    set(6, 0);
    // SAFETY: the function returns, or the guard takes the exception.
    let caught = unsafe {
        set(7, 0x402);
        let caught = guarded(touched as *const () as u64, 0);
        let status = get(6);
        set(7, 0);
        observe!("hit.dr6", "{}", code(status));
        caught
    };
    observe!("hit", "{}", caught.seen(touched as *const () as u64, guard_rsp() - 8));
    set(6, 0);
    let dr7: u64;
    // SAFETY: emulated; reading has no effect.
    unsafe { asm!("mov {}, dr7", out(reg) dr7) };
    observe!("instruction.dr7", "{dr7:#x}");
    let dr6: u64;
    // SAFETY: as above.
    unsafe { asm!("mov {}, dr6", out(reg) dr6) };
    observe!("instruction.dr6", "{dr6:#x}");
    set(0, 0);
    set(7, 0x400);
}

/// Where the breakpoint is.
#[inline(never)]
extern "C" fn touched() -> u64 {
    core::hint::black_box(7)
}
