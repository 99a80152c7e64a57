//! fork: every child runs, with its own memory, and its exit code reaches the parent that waits.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use ulib::process::{self, Status};
use ulib::report::Report;
use ulib::{Args, Errno, sys};

ulib::entry!(main);

const CHILDREN: i32 = 12;
const DEPTH: i32 = 6;

fn main(_args: &Args) -> i32 {
    let mut report = Report::new();
    let mut pids = Vec::new();
    for index in 0..CHILDREN {
        match process::spawn(|| 100 + index) {
            Ok(pid) => pids.push((pid, 100 + index)),
            Err(error) => report.check("fork", false, format_args!("child {index}: {error}")),
        }
    }
    let parent = sys::getpid();
    let distinct = pids.iter().all(|(pid, _)| *pid != parent && *pid != 0);
    let ended = pids.iter().rev().all(|(pid, code)| process::wait(*pid) == Ok(Status::Exited(*code)));
    let none_left = sys::wait4(-1, 0) == Err(Errno::ECHILD);
    report.check(
        "fork",
        distinct && ended && none_left,
        format_args!("{} children, each exit code received, none left", pids.len()),
    );
    let deep = process::run(|| generation(DEPTH));
    report.check("fork-depth", deep == Ok(Status::Exited(DEPTH)), format_args!("{DEPTH} generations"));
    report.code()
}

/// Each generation adds one to what its child returns, and checks who its parent is.
fn generation(left: i32) -> i32 {
    if left == 0 {
        return 0;
    }
    let me = sys::getpid();
    match process::run(|| if sys::getppid() == me { generation(left - 1) } else { 99 }) {
        Ok(Status::Exited(code)) => code + 1,
        _ => 99,
    }
}
