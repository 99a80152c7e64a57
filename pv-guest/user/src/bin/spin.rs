//! Spins until a signal ends it: something for Ctrl-C to kill. `spin masked SECONDS` has the kernel spin instead, with
//! events masked, so that nothing ends it but the hypervisor's scheduler.
#![no_std]
#![no_main]

use ulib::{Args, eprintln, file, println};

ulib::entry!(main);

fn main(args: &Args) -> i32 {
    if args.get(1) == "masked" {
        return match file::write("/proc/spin", args.get(2).as_bytes()) {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("spin: {error}");
                1
            }
        };
    }
    println!("spin: spinning");
    loop {
        core::hint::spin_loop();
    }
}
