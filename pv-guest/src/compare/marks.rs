//! Marks: places in the kernel's code where an operation begins and ends, for a debugger outside that stops there. Where
//! nobody does, they are two empty functions.

use core::arch::asm;

use crate::errno::{Errno, Result};

/// An operation begins whose name lies there. The symbol is where `tests/src/trace` has the machine stopped.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn compare_begins(name: *const u8, length: usize) {
    // SAFETY: nothing is executed; the arguments are in their registers, and the name in memory, at this place.
    unsafe { asm!("/* {} {} */", in(reg) name, in(reg) length, options(readonly, nostack, preserves_flags)) };
}

/// It ended.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn compare_ends(name: *const u8, length: usize) {
    // SAFETY: as above.
    unsafe {
        asm!("/* {} {} . */", in(reg) name, in(reg) length, options(readonly, nostack, preserves_flags))
    };
}

/// An operation begins.
pub fn begins(name: &str) {
    compare_begins(name.as_ptr(), name.len());
}

/// It ended.
pub fn ends(name: &str) {
    compare_ends(name.as_ptr(), name.len());
}

/// What a program writes to `/proc/compare`: `begins NAME` or `ends NAME`; `passes NAME` and `passed NAME` around runs that
/// nobody is to stop at.
pub fn written(text: &[u8]) -> Result<()> {
    match core::str::from_utf8(text).ok().and_then(|text| text.split_once(' ')) {
        Some(("begins", name)) => begins(name),
        Some(("ends", name)) => ends(name),
        Some(("passes" | "passed", _)) => {}
        _ => return Err(Errno::EINVAL),
    }
    Ok(())
}
