//! The break: growing gives zeroed memory, shrinking takes it away.
#![no_std]
#![no_main]

use ulib::process::Status;
use ulib::report::Report;
use ulib::trap::{self, vector};
use ulib::{Args, sys};

ulib::entry!(main);

const GROW: usize = 0x50_0000;

fn main(_args: &Args) -> i32 {
    let mut report = Report::new();
    // The report's lines need the allocator, which owns the break: it is put back before the first line.
    // SAFETY: asking moves nothing; then the break moves up, past the allocator's memory.
    let (start, top) = unsafe {
        let start = sys::brk(0);
        (start, sys::brk(start + GROW))
    };
    let last = (start + GROW - 8) as *mut u64;
    let mut zero = false;
    let mut kept = false;
    if top == start + GROW {
        // SAFETY: inside the memory the break has just added, which nobody else uses.
        unsafe {
            zero = last.read_volatile() == 0;
            last.write_volatile(0x1234_5678);
            kept = last.read_volatile() == 0x1234_5678;
        }
    }
    // SAFETY: gives back exactly what was added above.
    let back = unsafe { sys::brk(start) };
    report.check("brk", zero && kept, format_args!("{} KiB more, zeroed", GROW / 1024));
    let gone = trap::provoke(|| {
        // SAFETY: faults by design.
        unsafe { last.write_volatile(1) };
        0
    });
    let fault = matches!(gone, Ok((Status::Killed(11), Some(fault))) if fault.vector == vector::PAGE_FAULT);
    report.check("brk-shrink", back == start && fault, format_args!("memory below the old break is gone"));
    report.code()
}
