//! The demonstration: runs every feature's program, BusyBox, and the kernel's own checks; passes on their
//! `ok` and `FAILED` lines, counts them, and ends with `demo: N ok, M failed`.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use ulib::process::{self, Status};
use ulib::report::{Report, verdict};
use ulib::{Args, file, io, memory, println, sys};

ulib::entry!(main);

/// The programs, in order.
const PROGRAMS: [&str; 20] = [
    "ring",
    "fork",
    "exec",
    "pipe",
    "sleep",
    "cow",
    "mmap",
    "brk",
    "segv",
    "preempt",
    "registers",
    "int80",
    "kernread",
    "privops3",
    "files",
    "threads",
    "parallel",
    "cpus",
    "hotplug",
    "ticker",
];

fn main(_args: &Args) -> i32 {
    // The counting process allocates nothing between its two readings, and has had a child before the first
    // one, so that its own pages and the kernel's tables have their final size.
    let mut tally = [0; 2];
    let _ = process::run(|| process::output("/bin/fork", &["fork"]).map_or(1, |_| 0));
    let _ = collect(&mut tally, |_| {});
    let _ = memory::free_frames();
    let before = memory::free_frames();
    let ended = collect(&mut tally, everything);
    let after = memory::free_frames();

    let mut report = Report { passed: tally[0], failed: tally[1] };
    if ended != Ok(Status::Exited(0)) {
        report.check("demo", false, format_args!("the demonstration itself: {ended:?}"));
    }
    match (before, after) {
        (Ok(before), Ok(after)) => report.check(
            "free-frames",
            before == after,
            format_args!("{before} before the programs ran, {after} after"),
        ),
        other => report.check("free-frames", false, format_args!("{other:?}")),
    }
    println!("demo: {} ok, {} failed", report.passed, report.failed);
    report.code()
}

/// Runs `work` in a child and receives its tally.
fn collect(tally: &mut [usize; 2], work: fn(&mut Report)) -> sys::Result<Status> {
    let (reader, writer) = sys::pipe()?;
    let pid = process::spawn(|| {
        let mut report = Report::new();
        work(&mut report);
        let mut message = [0; 16];
        message[..8].copy_from_slice(&report.passed.to_le_bytes());
        message[8..].copy_from_slice(&report.failed.to_le_bytes());
        i32::from(io::write_all(writer, &message).is_err())
    })?;
    sys::close(writer)?;
    let mut message = [0; 16];
    let length = sys::read(reader, &mut message)?;
    sys::close(reader)?;
    if length == message.len() {
        for (count, bytes) in tally.iter_mut().zip(message.chunks_exact(8)) {
            *count = usize::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
    }
    process::wait(pid)
}

fn everything(report: &mut Report) {
    for program in PROGRAMS {
        run_program(report, program);
    }
    busybox(report);
    kernel_report(report, "selftest", "/proc/selftest");
    kernel_report(report, "registers", "/proc/registers");
    kernel_report(report, "lesson", "/proc/lesson");
    bench(report);
}

/// Prints a text's lines and counts their verdicts.
fn pass_on(report: &mut Report, text: &str) -> (usize, usize) {
    let before = (report.passed, report.failed);
    for line in text.lines() {
        println!("{line}");
        match verdict(line) {
            Some(true) => report.passed += 1,
            Some(false) => report.failed += 1,
            None => {}
        }
    }
    (report.passed - before.0, report.failed - before.1)
}

fn run_program(report: &mut Report, name: &str) {
    match process::output(&format!("/bin/{name}"), &[name]) {
        Ok((status, output)) => {
            let (passed, failed) = pass_on(report, &ulib::text::lossy(&output));
            // A program that dies, or says nothing, has failed, whatever it said before.
            if failed == 0 && (passed == 0 || status != Status::Exited(0)) {
                report.check(name, false, format_args!("{status} after {passed} checks"));
            }
        }
        Err(error) => report.check(name, false, format_args!("{error}")),
    }
}

/// BusyBox's output for some words, as text, when it ended well.
fn busybox_output(words: &[&str]) -> Result<String, String> {
    let mut all = Vec::from(["busybox"]);
    all.extend_from_slice(words);
    match process::output("/bin/busybox", &all) {
        Ok((Status::Exited(0), output)) => Ok(ulib::text::lossy(&output)),
        Ok((status, output)) => Err(format!("{status}: {}", ulib::text::lossy(&output).trim_end())),
        Err(error) => Err(format!("{error}")),
    }
}

fn busybox(report: &mut Report) {
    let words = "third-party code in ring 3";
    let outcome = busybox_output(&["echo", words]);
    let good = outcome.as_deref() == Ok(&format!("{words}\n"));
    report.check("busybox-echo", good, format_args!("{}", line_of(&outcome)));

    let outcome = busybox_output(&["cat", "/etc/motd"]);
    let good =
        outcome.as_ref().is_ok_and(|text| file::read("/etc/motd").is_ok_and(|it| it == text.as_bytes()));
    report.check("busybox-cat", good, format_args!("{}", line_of(&outcome)));

    let outcome = busybox_output(&["uname", "-a"]);
    let good = outcome.as_ref().is_ok_and(|text| text.contains("x86_64"));
    report.check("busybox-uname", good, format_args!("{}", line_of(&outcome)));

    let outcome = busybox_output(&["sh", "-c", "cd /tmp && echo one > f && cat f | wc -l && rm f"]);
    let good = outcome.as_ref().is_ok_and(|text| text.trim() == "1");
    report.check("busybox-sh", good, format_args!("a pipe and a file: {}", line_of(&outcome)));

    sha256(report);
}

/// Compares BusyBox's sums with the host's, which `/etc/hash.txt` holds as `sha256sum` printed them.
fn sha256(report: &mut Report) {
    let expected = file::read_text("/etc/hash.txt").unwrap_or_default();
    let mut equal = 0;
    let mut sample = String::new();
    for line in expected.lines() {
        let Some(path) = line.split_whitespace().nth(1) else { continue };
        let outcome = busybox_output(&["sha256sum", path]);
        if outcome.as_deref().map(str::trim_end) == Ok(line.trim_end()) {
            equal += 1;
            sample = format!("{path} {:.16}...", line);
        } else {
            report.check("busybox-sha256sum", false, format_args!("{path}: host {line}, here {outcome:?}"));
        }
    }
    report.check(
        "busybox-sha256sum",
        equal > 0 && equal == expected.lines().filter(|line| !line.trim().is_empty()).count(),
        format_args!("{equal} files equal to the host's sums, last {sample}"),
    );
}

/// The first line of a success, or what went wrong.
fn line_of(outcome: &Result<String, String>) -> &str {
    match outcome {
        Ok(text) => text.lines().next().unwrap_or("(nothing)"),
        Err(error) => error,
    }
}

/// A report of the kernel's own: its lines carry their verdicts.
fn kernel_report(report: &mut Report, name: &str, path: &str) {
    match file::read_text(path) {
        Ok(text) => {
            if pass_on(report, &text) == (0, 0) {
                report.check(name, false, format_args!("{path} has no verdict"));
            }
        }
        Err(error) => report.check(name, false, format_args!("{path}: {error}")),
    }
}

fn bench(report: &mut Report) {
    match process::output("/bin/bench", &["bench"]) {
        Ok((status, output)) => {
            let (_, failed) = pass_on(report, &ulib::text::lossy(&output));
            if failed == 0 && status != Status::Exited(0) {
                report.check("bench", false, format_args!("{status}"));
            }
        }
        Err(error) => report.check("bench", false, format_args!("{error}")),
    }
}
