//! The guest kernel's pure parts: what decides and computes without touching the machine, so that the host can
//! test it (`cargo test -p pv-guest --lib`). The kernel binary uses this library for the same code.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

#[path = "mm/area.rs"]
pub mod area;
#[path = "mm/backing.rs"]
pub mod backing;
#[path = "cpu_ops/native/calendar.rs"]
pub mod calendar;
#[path = "fs/cpio.rs"]
pub mod cpio;
#[path = "cpu/set.rs"]
pub mod cpu_set;
#[path = "fs/dirent.rs"]
pub mod dirent;
#[path = "process/elf.rs"]
pub mod elf;
pub mod errno;
#[path = "role/exchange/flow.rs"]
pub mod flow;
#[path = "mm/layout.rs"]
pub mod layout;
#[path = "tty/line.rs"]
pub mod line;
#[path = "mm/memory_map.rs"]
pub mod memory_map;
pub mod options;
#[path = "fs/pages.rs"]
pub mod pages;
#[path = "fs/path.rs"]
pub mod path;
#[path = "process/placement.rs"]
pub mod placement;
#[path = "fs/ring.rs"]
pub mod ring;
#[path = "role/name.rs"]
pub mod role;
#[path = "tty/termios.rs"]
pub mod termios;
#[path = "cpu/ticket.rs"]
pub mod ticket;
#[path = "role/ticks.rs"]
pub mod ticks;
#[path = "xenstore/connection.rs"]
pub mod xenstore_connection;
#[path = "xenstore/shutdown.rs"]
pub mod xenstore_shutdown;
