//! What the Paravane hypervisor decides: frames and their types, page-table checks, events, time, the
//! boot-time domain builder, instruction emulation. Hardware is known only through the traits here.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod addr;
pub mod build;
pub mod cmdline;
mod calls;
pub mod guest;
pub mod console;
pub mod construct;
pub mod event;
pub mod flush;
pub mod frame;
pub mod machine;
pub mod domain;
pub mod hypervisor;
pub mod memory;
pub mod time;
pub mod guest_memory;
pub mod pagetable;
pub mod bounce;
pub mod cpuid;
pub mod crash;
pub mod debugreg;
pub mod descriptor;
pub mod emulate;
pub mod iret;
pub mod msr;
pub mod audit;
#[cfg(any(test, feature = "fake"))]
pub mod fake_machine;
