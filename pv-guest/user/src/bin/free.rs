//! Shows how much memory is free.
#![no_std]
#![no_main]

use ulib::{Args, eprintln, file, print};

ulib::entry!(main);

fn main(_args: &Args) -> i32 {
    match file::read_text("/proc/meminfo") {
        Ok(text) => {
            print!("{text}");
            0
        }
        Err(error) => {
            eprintln!("free: /proc/meminfo: {error}");
            1
        }
    }
}
