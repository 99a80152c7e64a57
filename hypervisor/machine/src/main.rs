//! The Paravane hypervisor image: boot, entry paths, processor tables, devices. All `unsafe` code and all
//! assembly of the hypervisor is here; what it is told to do is decided in `paravane_core`.
#![no_std]
#![no_main]

extern crate alloc;

mod boot;
mod clock;
mod cpu;
mod device;
mod digest;
mod direct_map;
mod domains;
mod entry;
mod handlers;
mod hardware;
mod heap;
mod logger;
mod panic;
mod smp;
mod stack;
mod start;
mod storm;
mod tables;
