//! The small runtime that the user programs share: start-up, raw system calls by Linux's x86-64 numbers,
//! printing, memory from `brk`, processes, files, and the shell's parser.
//!
//! A program is `#![no_std] #![no_main]`, says `ulib::entry!(main)` and defines
//! `fn main(args: &Args) -> i32`. The pure parts are tested on the host: `cargo test -p pv-guest-user --lib`.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod errno;
pub mod file;
#[cfg(target_os = "none")]
mod handlers;
pub mod io;
pub mod memory;
pub mod parse;
pub mod primes;
pub mod process;
pub mod report;
#[cfg(target_os = "none")]
mod runtime;
pub mod sys;
pub mod text;
#[cfg(target_os = "none")]
pub mod thread;
pub mod trap;

pub use errno::Errno;
pub use runtime_args::Args;

mod runtime_args;

/// Names the program's main function: `fn main(args: &Args) -> i32`.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        /// Called by the start-up code with the parsed argument block.
        #[unsafe(no_mangle)]
        fn ulib_main(args: &$crate::Args) -> i32 {
            $main(args)
        }
    };
}
