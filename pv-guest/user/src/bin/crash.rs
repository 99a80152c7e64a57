//! Asks the guest kernel to crash its domain, to see what the hypervisor makes of it.
#![no_std]
#![no_main]

use ulib::{Args, eprintln, file};

ulib::entry!(main);

fn main(_args: &Args) -> i32 {
    match file::write("/proc/crash", b"1\n") {
        Ok(()) => eprintln!("crash: the kernel lives"),
        Err(error) => eprintln!("crash: {error}"),
    }
    1
}
