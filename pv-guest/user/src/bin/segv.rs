//! A process that faults is killed, alone, with the signal Linux sends for the vector.
#![no_std]
#![no_main]

use core::arch::asm;
use core::hint::black_box;
use ulib::process::Status;
use ulib::report::Report;
use ulib::trap::{self, vector};
use ulib::{Args, sys};

ulib::entry!(main);

/// Name, what the child does, the vector, and the page-fault error code's low bits (present, write, user,
/// and instruction fetch; SDM volume 3, figure 4-12).
struct Row {
    name: &'static str,
    run: fn(),
    vector: u64,
    error: Option<u64>,
}

const ROWS: [Row; 7] = [
    Row { name: "read of nothing", run: read_null, vector: vector::PAGE_FAULT, error: Some(0x4) },
    Row { name: "write to nothing", run: write_null, vector: vector::PAGE_FAULT, error: Some(0x6) },
    Row { name: "write to code", run: write_code, vector: vector::PAGE_FAULT, error: Some(0x7) },
    Row { name: "run of data", run: run_data, vector: vector::PAGE_FAULT, error: Some(0x15) },
    Row { name: "non-canonical read", run: read_hole, vector: vector::GENERAL_PROTECTION, error: None },
    Row { name: "division by zero", run: divide, vector: vector::DIVIDE, error: None },
    Row { name: "undefined instruction", run: undefined, vector: vector::INVALID_OPCODE, error: None },
];

fn main(_args: &Args) -> i32 {
    let mut report = Report::new();
    let mut good = 0;
    for row in &ROWS {
        let signal = trap::signal_of(row.vector);
        let outcome = trap::provoke(|| {
            (row.run)();
            0
        });
        let as_expected = matches!(outcome, Ok((Status::Killed(got), Some(fault)))
            if got == signal && fault.vector == row.vector && row.error.is_none_or(|error| error == fault.error));
        if as_expected {
            good += 1;
        } else {
            report.check("segv", false, format_args!("{}: {outcome:?}", row.name));
        }
    }
    let alive = sys::getpid() != 0;
    report.check(
        "segv",
        good == ROWS.len() && alive,
        format_args!("{good} faults, each killed its process, by the right signal, and nobody else"),
    );
    report.code()
}

fn read_null() {
    // SAFETY: faults by design; the process is there to be killed.
    black_box(unsafe { black_box(16usize as *const u64).read_volatile() });
}

fn write_null() {
    // SAFETY: faults by design.
    unsafe { black_box(16usize as *mut u64).write_volatile(1) };
}

fn write_code() {
    // SAFETY: faults by design: code pages are not writable.
    unsafe { (main as *const () as *mut u8).write_volatile(0) };
}

fn run_data() {
    let code = [0xc3u8; 16];
    // SAFETY: faults by design: the stack is not executable.
    unsafe { asm!("call {0}", in(reg) black_box(code.as_ptr())) };
}

fn read_hole() {
    // SAFETY: faults by design.
    black_box(unsafe { black_box(0x8000_0000_0000_0000usize as *const u64).read_volatile() });
}

fn divide() {
    // SAFETY: faults by design.
    unsafe { asm!("div {0:e}", in(reg) 0u32, inout("eax") 1 => _, inout("edx") 0 => _) };
}

fn undefined() {
    // SAFETY: faults by design.
    unsafe { asm!("ud2") };
}
