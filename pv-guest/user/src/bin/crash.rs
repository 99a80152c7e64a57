//! Asks the guest kernel to crash its domain, or with an argument to break the contract so that the hypervisor does,
//! to see what the hypervisor makes of it.
#![no_std]
#![no_main]

use ulib::{Args, eprintln, file};

ulib::entry!(main);

fn main(args: &Args) -> i32 {
    let how: &[u8] = if !args.get(1).is_empty() { b"stack\n" } else { b"1\n" };
    match file::write("/proc/crash", how) {
        Ok(()) => eprintln!("crash: the kernel lives"),
        Err(error) => eprintln!("crash: {error}"),
    }
    1
}
