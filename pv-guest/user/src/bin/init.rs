//! The first process: runs the demonstration when the kernel's command line has `demo`, the parallel job when it has
//! `role=parallel`, the comparison when it has `role=compare`, else a shell on the console, and powers the machine off when
//! that ends.
#![no_std]
#![no_main]

use ulib::{Args, Errno, eprintln, file, process, sys};

ulib::entry!(main);

/// Rounds of the parallel job.
const PARALLEL_TIMES: &str = "50";

fn main(args: &Args) -> i32 {
    let command_line = file::read_text("/proc/cmdline").unwrap_or_default();
    let has = |wanted: &str| {
        args.rest().any(|word| word == wanted) || command_line.split_whitespace().any(|word| word == wanted)
    };
    let words: &[&str] = if has("role=parallel") {
        &["/bin/parallel", "", PARALLEL_TIMES]
    } else if has("role=compare") {
        &["/bin/compare"]
    } else if has("demo") {
        &["/bin/demo"]
    } else {
        &["/bin/sh"]
    };
    let program = words[0];
    let _ = sys::setsid();
    let child = process::spawn(|| {
        let error = process::exec(program, words);
        eprintln!("init: {program}: {error}");
        127
    });
    match child {
        Ok(child) => reap_until(child),
        Err(error) => eprintln!("init: fork: {error}"),
    }
    let error = sys::reboot(sys::reboot_command::POWER_OFF);
    eprintln!("init: power off: {error}");
    1
}

/// Collects every orphan that ends, until the main child does.
fn reap_until(child: usize) {
    loop {
        match sys::wait4(-1, 0) {
            Ok((pid, _)) if pid == child => return,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}
