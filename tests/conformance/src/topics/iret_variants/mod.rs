//! `iret()`, call 23, in all its forms (xen/include/public/arch-x86/xen-x86_64.h, `struct iret_context`).
//!
//! The argument lies at RSP: RAX, R11, RCX, flags, RIP, CS, RFLAGS, RSP, SS. The call does not return; what runs next has
//! these registers and keeps the others.
//!
//! - CS with RPL 3 means a program, any other the kernel. CS and SS get the RPL of that half, and are otherwise the guest's choice.
//! - IF in RFLAGS clear masks events, set unmasks them; IOPL is the hypervisor's, VM and reserved flags are dropped.
//! - With `VGCF_IN_SYSCALL` a program is returned to as by `sysret`: RCX and R11 become RIP and RFLAGS, and the selectors are
//!   the flat ones whatever the frame says. A kernel in ring 1 finds RCX and R11 as they are.
//!
//! Selectors and addresses that cannot be used raise the exception that the processor has for them, in the context that was
//! to be returned to. Fatal: a context that cannot be read, and a program without page tables of its own.

mod fatal;
mod flags;
mod returns;
mod selectors;

use crate::case::Row;

/// The rows.
pub const ROWS: &[&Row] = &[
    &Row { call: "iret-variants", operation: Some("returns"), no_refusal: None, cases: returns::CASES },
    &Row { call: "iret-variants", operation: Some("flags"), no_refusal: None, cases: flags::CASES },
    &Row { call: "iret-variants", operation: Some("selectors"), no_refusal: None, cases: selectors::CASES },
    &Row { call: "iret-variants", operation: Some("fatal"), no_refusal: None, cases: fatal::CASES },
];
