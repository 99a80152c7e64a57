//! The guest kernel's pure parts: what decides and computes without touching the machine, so that the host can
//! test it (`cargo test -p pv-guest --lib`). The kernel binary uses this library for the same code.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

#[path = "fs/cpio.rs"]
pub mod cpio;
#[path = "fs/dirent.rs"]
pub mod dirent;
#[path = "tty/line.rs"]
pub mod line;
#[path = "fs/pages.rs"]
pub mod pages;
#[path = "fs/path.rs"]
pub mod path;
#[path = "fs/ring.rs"]
pub mod ring;
#[path = "tty/termios.rs"]
pub mod termios;
