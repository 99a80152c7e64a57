//! Exceptions (xen/include/public/arch-x86/xen.h, `struct trap_info`; xen-x86_64.h, `struct iret_context` and
//! `struct cpu_user_regs`).
//!
//! The hypervisor pushes a frame and enters the handler that `set_trap_table` named. From its lowest address the frame has
//! RCX, R11, the error code of vectors that have one, RIP, CS, RFLAGS, RSP and SS. It lies on the kernel's stack if that was
//! running, else on the one that `stack_switch` named; in either case its end is aligned to 16 bytes.
//!
//! - CS in the frame has RPL 0 for a kernel in ring 3, RPL 3 for a program; its byte 4 is the event mask as it was.
//! - RFLAGS in the frame has IF set where events were not masked, IOPL 0.
//! - The handler starts with TF, NT, AC, VM and RF clear, DF as it was; RCX and R11 are lost for a kernel in ring 3, which is
//!   entered by `sysret`; all other registers are kept. Events are masked if the handler's entry asks for that, else as they were.
//! - The address of a page fault is `vcpu_info.arch.cr2`; its error code's U bit tells programs from the kernel.
//!
//! Fatal: an exception without a handler, and a frame that cannot be pushed.

mod fatal;
mod frames;
mod memory;
mod vectors;

use crate::case::Row;

/// The row.
pub const ROWS: &[&Row] = &[
    &Row { call: "exception-frames", operation: Some("vectors"), no_refusal: None, cases: vectors::CASES },
    &Row { call: "exception-frames", operation: Some("frames"), no_refusal: None, cases: frames::CASES },
    &Row { call: "exception-frames", operation: Some("memory"), no_refusal: None, cases: memory::CASES },
    &Row { call: "exception-frames", operation: Some("fatal"), no_refusal: None, cases: fatal::CASES },
];
