//! The least of a paravirtualized kernel that tests and tools need: hypercalls, memory, grants, a guard that catches what
//! code raises, and lines on a console. It runs in ring 3 on Xen and on Paravane, and in ring 1 on Paravane.
//!
//! A kernel is a crate with one invocation of [`kernel_image!`], which gives it ELF notes, first instructions and a panic
//! handler, and the linker script that [`kernel_image!`] speaks of.
#![no_std]

pub use paravane_abi::{elfnote, ring1};

pub mod boot;
pub mod events;
pub mod grants;
pub mod guard;
pub mod hypercall;
mod image;
pub mod memory;
pub mod print;
pub mod ring;
pub mod time;
pub mod user;
pub mod vcpus;
