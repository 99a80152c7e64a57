//! Copies files, or standard input, to standard output.
#![no_std]
#![no_main]

use ulib::text::c_string;
use ulib::{Args, Errno, eprintln, io, sys};

ulib::entry!(main);

fn main(args: &Args) -> i32 {
    let mut code = 0;
    let mut named = false;
    for path in args.rest() {
        named = true;
        let result = sys::open(&c_string(path), sys::O_RDONLY, 0).and_then(|fd| {
            let result = copy(fd);
            sys::close(fd)?;
            result
        });
        if let Err(error) = result {
            eprintln!("cat: {path}: {error}");
            code = 1;
        }
    }
    if !named && let Err(error) = copy(io::STDIN) {
        eprintln!("cat: {error}");
        code = 1;
    }
    code
}

fn copy(fd: usize) -> sys::Result<()> {
    let mut buf = [0; 4096];
    loop {
        match sys::read(fd, &mut buf) {
            Ok(0) => return Ok(()),
            Ok(n) => io::write_all(io::STDOUT, &buf[..n])?,
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}
