//! The first instructions of every program, and its panic handler.

use crate::{Args, io, sys};
use core::fmt::Write;

// The kernel enters with RSP at the argument block (System V psABI, process initialization); RBP 0 marks
// the outermost frame, and a call needs a 16-byte-aligned stack.
core::arch::global_asm!(
    ".section .text._start,\"ax\"",
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {start}",
    "ud2",
    ".text",
    start = sym start,
);

unsafe extern "Rust" {
    fn ulib_main(args: &Args) -> i32;
}

/// # Safety
/// Called once, by `_start`, with the initial stack pointer.
unsafe extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: `_start` passes the initial stack pointer, and nobody writes above it.
    let args = unsafe { Args::from_stack(stack) };
    // SAFETY: `entry!` defines the function with this signature.
    sys::exit(unsafe { ulib_main(&args) })
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let _ = writeln!(io::Unbuffered(io::STDERR), "{info}");
    sys::exit(101)
}

#[global_allocator]
static HEAP: crate::memory::Heap = crate::memory::Heap::new();
