//! Lists directories.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use ulib::file::{self, DT_DIR};
use ulib::{Args, Errno, eprintln, println};

ulib::entry!(main);

fn main(args: &Args) -> i32 {
    let mut paths: Vec<&str> = args.rest().collect();
    if paths.is_empty() {
        paths.push(".");
    }
    let mut code = 0;
    for path in &paths {
        match file::list(path) {
            Ok(names) => {
                if paths.len() > 1 {
                    println!("{path}:");
                }
                for (name, kind) in names {
                    println!("{name}{}", if kind == DT_DIR { "/" } else { "" });
                }
            }
            Err(Errno::ENOTDIR) => println!("{path}"),
            Err(error) => {
                eprintln!("ls: {path}: {error}");
                code = 1;
            }
        }
    }
    code
}
