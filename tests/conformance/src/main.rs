//! The suite's first instructions and ELF notes. All else is in the library.
#![no_std]
#![no_main]

pv_probe::kernel_image!("paravane-conformance", conformance::run::main);
