//! Ring 3 can neither read nor write the kernel's pages, nor the hypervisor's entry area and tables.
#![no_std]
#![no_main]

use core::hint::black_box;
use ulib::process::Status;
use ulib::report::Report;
use ulib::text::{field_number, number};
use ulib::trap::{self, vector};
use ulib::{Args, file};

ulib::entry!(main);

fn main(_args: &Args) -> i32 {
    let mut report = Report::new();
    let text = file::read_text("/proc/ring").unwrap_or_default();
    // Each line of the form `page NAME ADDRESS` names memory that belongs to the kernel or below it.
    let mut pages = 0;
    let mut good = 0;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some("page"), Some(name), Some(address)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let Some(address) = number(address) else { continue };
        pages += 1;
        let read = trap::provoke(|| {
            // SAFETY: faults by design; should it not, the value is only counted.
            black_box(unsafe { (address as *const u8).read_volatile() });
            0
        });
        let write = trap::provoke(|| {
            // SAFETY: faults by design.
            unsafe { (address as *mut u8).write_volatile(0) };
            0
        });
        let refused = [&read, &write].into_iter().all(|outcome| {
            matches!(outcome, Ok((Status::Killed(11), Some(fault)))
                if fault.vector == vector::PAGE_FAULT && fault.address == address && fault.error & 4 != 0)
        });
        if refused {
            good += 1;
        } else {
            report.check(
                "kernel-page",
                false,
                format_args!("{name} {address:#x}: read {read:?}, write {write:?}"),
            );
        }
    }
    report.check(
        "kernel-page",
        pages > 0 && good == pages && field_number(&text, "cs").is_some(),
        format_args!("{pages} pages of kernel and hypervisor: ring 3 dies reading and writing them"),
    );
    report.code()
}
