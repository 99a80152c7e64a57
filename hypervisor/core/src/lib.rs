//! What the Paravane hypervisor decides: frames and their types, page-table checks, events, time, the
//! boot-time domain builder, instruction emulation. Hardware is known only through the traits here.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "fake"))]
extern crate std;

pub mod acpi;
pub mod addr;
pub mod audit;
pub mod boot;
pub mod bounce;
pub mod build;
mod calls;
pub mod cmdline;
pub mod console;
pub mod construct;
mod cpu;
pub mod cpuid;
pub mod crash;
pub mod debugreg;
pub mod descriptor;
pub mod domain;
pub mod emulate;
pub mod event;
#[cfg(any(test, feature = "fake"))]
pub mod fake_machine;
pub mod flush;
pub mod fpu;
pub mod frame;
pub mod full;
pub mod grant;
pub mod guest;
pub mod guest_memory;
pub mod hypervisor;
pub mod iret;
mod lifecycle;
pub mod lock;
pub mod machine;
pub mod memory;
pub mod msr;
pub mod pagetable;
mod pc;
pub mod platform;
pub mod sched;
pub mod shadow;
pub mod shootdown;
pub mod time;
pub mod trace;
pub mod watchdog;
pub mod xenstore;

#[cfg(any(test, feature = "fake"))]
pub use calls::several_guests;
