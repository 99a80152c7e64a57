//! Xen 4.17's public x86-64 PV interface.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod macros;
#[macro_use]
mod table;

pub mod bounce;
pub mod callback;
pub mod console;
pub mod cpuid;
pub mod elfnote;
pub mod errno;
pub mod event;
pub mod hypercall;
pub mod layout;
mod layout_asserts;
pub mod memory;
pub mod mmu;
pub mod multicall;
pub mod physdev;
pub mod pte;
pub mod pvh;
pub mod regs;
pub mod ring1;
pub mod sched;
pub mod segment;
pub mod shared_info;
pub mod start_info;
pub mod trap;
pub mod vcpu;
pub mod version;
pub mod vm_assist;
