//! Powers the machine off.
#![no_std]
#![no_main]

use ulib::{Args, eprintln, sys};

ulib::entry!(main);

fn main(_args: &Args) -> i32 {
    let error = sys::reboot(sys::reboot_command::POWER_OFF);
    eprintln!("poweroff: {error}");
    1
}
