//! Restarts the machine.
#![no_std]
#![no_main]

use ulib::{Args, eprintln, sys};

ulib::entry!(main);

fn main(_args: &Args) -> i32 {
    let error = sys::reboot(sys::reboot_command::RESTART);
    eprintln!("reboot: {error}");
    1
}
