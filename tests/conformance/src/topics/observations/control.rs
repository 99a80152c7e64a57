//! Control registers: what the kernel may write, and what it reads then.

use core::arch::asm;

use crate::case::Case;
use crate::observe;
use pv_probe::guard::{Caught, RETURNED, guarded};

/// The case.
pub const CASE: Case = super::observation("control", "control registers and XCR0, bit by bit", |_| {
    observe();
    Ok(())
});

extern "C" fn read_cr0() -> u64 {
    let value;
    // SAFETY: emulated.
    unsafe { asm!("mov {}, cr0", out(reg) value) };
    value
}

extern "C" fn write_cr0(value: u64) -> u64 {
    // SAFETY: emulated.
    unsafe { asm!("mov cr0, {}", in(reg) value) };
    0
}

extern "C" fn write_cr2(value: u64) -> u64 {
    let now;
    // SAFETY: emulated.
    unsafe { asm!("mov cr2, {0}", "mov {1}, cr2", in(reg) value, out(reg) now) };
    now
}

extern "C" fn write_cr3(value: u64) -> u64 {
    // SAFETY: emulated; the hypervisor takes no table that is none of the kernel's.
    unsafe { asm!("mov cr3, {}", in(reg) value) };
    0
}

extern "C" fn read_cr4() -> u64 {
    let value;
    // SAFETY: emulated.
    unsafe { asm!("mov {}, cr4", out(reg) value) };
    value
}

extern "C" fn write_cr4(value: u64) -> u64 {
    // SAFETY: emulated.
    unsafe { asm!("mov cr4, {}", in(reg) value) };
    0
}

extern "C" fn read_cr8() -> u64 {
    let value;
    // SAFETY: emulated, or an exception.
    unsafe { asm!("mov {}, cr8", out(reg) value) };
    value
}

extern "C" fn load_status(value: u64) -> u64 {
    // SAFETY: emulated, or an exception.
    unsafe { asm!("lmsw {0:x}", in(reg) value) };
    0
}

extern "C" fn write_xcr0(value: u64) -> u64 {
    // SAFETY: emulated, or an exception; no state of the kernel's is lost.
    unsafe { asm!("xsetbv", in("ecx") 0, in("eax") value as u32, in("edx") (value >> 32) as u32) };
    0
}

extern "C" fn read_xcr0() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: what it raises goes to the guard.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high) };
    u64::from(high) << 32 | u64::from(low)
}

/// Runs one of the functions above.
fn run(code: *const (), value: u64) -> Caught {
    // SAFETY: they return, or raise something.
    unsafe { guarded(code as u64, value) }
}

/// For a line: what a function returned, or the vector.
struct Came(Caught);

impl core::fmt::Display for Came {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match (self.0.vector, self.0.error()) {
            (RETURNED, _) => write!(f, "{:#x}", self.0.registers[0]),
            (vector, Some(error)) => write!(f, "vector {vector} error {error:x}"),
            (vector, None) => write!(f, "vector {vector}"),
        }
    }
}

fn observe() {
    let (cr0, cr4) = (read_cr0(), read_cr4());
    for bit in 0..64 {
        let came = Came(run(write_cr0 as *const (), cr0 ^ 1 << bit));
        observe!(("cr0.{bit}"), "{came}, then {}", Came(run(read_cr0 as *const (), 0)));
        run(write_cr0 as *const (), cr0);
    }
    for bit in 0..64 {
        let came = Came(run(write_cr4 as *const (), cr4 ^ 1 << bit));
        observe!(("cr4.{bit}"), "{came}, then {}", Came(run(read_cr4 as *const (), 0)));
        run(write_cr4 as *const (), cr4);
    }
    for value in [0u64, 0x1234, 0x8000_0000_0000, u64::MAX] {
        observe!(("cr2.{value:x}"), "{}", Came(run(write_cr2 as *const (), value)));
    }
    for value in [0u64, 0xff_ffff_f000, u64::MAX] {
        observe!(("cr3.{value:x}"), "{}", Came(run(write_cr3 as *const (), value)));
    }
    observe!("cr8", "{}", Came(run(read_cr8 as *const (), 0)));
    for value in [0u64, 1, 8, 9, 0xf] {
        observe!(
            ("lmsw.{value:x}"),
            "{}, then {}",
            Came(run(load_status as *const (), value)),
            Came(run(read_cr0 as *const (), 0))
        );
        run(write_cr0 as *const (), cr0);
    }
    observe!("xcr0.hidden", "{}", Came(run(read_xcr0 as *const (), 0)));
    run(write_cr4 as *const (), cr4 | 1 << 18);
    observe!("xcr0", "{}", Came(run(read_xcr0 as *const (), 0)));
    for value in [0u64, 1, 2, 3, 4, 5, 6, 7, 0x9, 0x1f, 0xe7, 0x207, u64::MAX] {
        let came = Came(run(write_xcr0 as *const (), value));
        observe!(("xcr0.{value:x}"), "{came}, then {}", Came(run(read_xcr0 as *const (), 0)));
    }
    run(write_xcr0 as *const (), 7);
    run(write_cr4 as *const (), cr4);
}
