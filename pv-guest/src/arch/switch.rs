//! The switch from one kernel stack to another.

use core::arch::naked_asm;

use super::entry::process_start;
use super::frame::Frame;

/// Registers that `switch_stack` keeps on the stack it leaves, and the address it returns to.
const SAVED_WORDS: usize = 7;

/// Saves the callee-saved registers on this stack, stores RSP in `*save`, and continues on the stack `next`.
///
/// # Safety
/// `next` was stored by an earlier call, or made by [`prepare_stack`], and is used once.
#[unsafe(naked)]
pub unsafe extern "C" fn switch_stack(save: *mut u64, next: u64) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rdi], rsp",
        "mov rsp, rsi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

/// Lays out a fresh kernel stack so that the first switch to it restores `frame`; returns the RSP to switch to.
///
/// # Safety
/// `top` is the 16-byte-aligned end of a stack of at least a page that nothing else uses.
pub unsafe fn prepare_stack(top: u64, frame: &Frame) -> u64 {
    let frame_at = top - size_of::<Frame>() as u64;
    let rsp = frame_at - (SAVED_WORDS * 8) as u64;
    // SAFETY: both ranges lie in the stack the caller hands over, and are aligned to 8.
    unsafe {
        (frame_at as *mut Frame).write(*frame);
        let words = rsp as *mut u64;
        for i in 0..SAVED_WORDS - 1 {
            words.add(i).write(0);
        }
        words.add(SAVED_WORDS - 1).write(process_start as *const () as u64);
    }
    rsp
}
