//! Spins until a signal ends it: something for Ctrl-C to kill.
#![no_std]
#![no_main]

use ulib::{Args, println};

ulib::entry!(main);

fn main(_args: &Args) -> i32 {
    println!("spin: spinning");
    loop {
        core::hint::spin_loop();
    }
}
