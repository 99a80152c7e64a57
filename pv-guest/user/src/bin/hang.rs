//! Spins for good and ignores Ctrl-C: what a test's time limit is for.
#![no_std]
#![no_main]

use ulib::process::{Disposition, set_signal, signal};
use ulib::{Args, println};

ulib::entry!(main);

fn main(_args: &Args) -> i32 {
    for signal in [signal::SIGINT, signal::SIGQUIT, signal::SIGTERM] {
        let _ = set_signal(signal, Disposition::Ignore);
    }
    println!("hang: spinning");
    loop {
        core::hint::spin_loop();
    }
}
