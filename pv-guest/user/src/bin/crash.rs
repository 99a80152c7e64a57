//! Asks the guest kernel to crash its domain, or to break the contract so that the hypervisor does, to see what the
//! hypervisor makes of it: `crash stack` by an exception without a stack, `crash table` by one with a page table for a stack,
//! `crash iret` by a return without a frame.
#![no_std]
#![no_main]

use ulib::{Args, eprintln, file};

ulib::entry!(main);

fn main(args: &Args) -> i32 {
    let how: &[u8] = match args.get(1) {
        "" => b"1\n",
        "iret" => b"iret\n",
        "table" => b"table\n",
        _ => b"stack\n",
    };
    match file::write("/proc/crash", how) {
        Ok(()) => eprintln!("crash: the kernel lives"),
        Err(error) => eprintln!("crash: {error}"),
    }
    1
}
