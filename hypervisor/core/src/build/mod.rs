//! The boot-time domain builder: from boot modules to a domain's first memory contents.
//!
//! The steps, each in a file of its own: [`bundle`] splits the boot module QEMU passes, [`devicetree`] says what
//! to build.

pub mod bundle;
pub mod devicetree;
pub mod elf;
pub mod fdt;
pub mod layout;
