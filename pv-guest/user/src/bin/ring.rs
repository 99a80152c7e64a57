//! Says in which ring the program and the kernel run: the low two bits of CS.
#![no_std]
#![no_main]

use core::arch::asm;
use ulib::report::Report;
use ulib::text::field_number;
use ulib::{Args, file};

ulib::entry!(main);

fn main(_args: &Args) -> i32 {
    let (cs, ss): (u16, u16);
    // SAFETY: reading segment registers has no effect.
    unsafe {
        asm!("mov {0:x}, cs", "mov {1:x}, ss", out(reg) cs, out(reg) ss, options(nomem, nostack));
    }
    let mut report = Report::new();
    report.check(
        "program-ring",
        cs & 3 == 3 && ss & 3 == 3,
        format_args!("cs {cs:#x} ss {ss:#x} ring {}", cs & 3),
    );
    let kernel = file::read_text("/proc/ring").unwrap_or_default();
    let (cs, ring) = (field_number(&kernel, "cs"), field_number(&kernel, "ring"));
    // Which ring it is depends on the machine the kernel believes to be on.
    let expected = match kernel.lines().next().and_then(|line| line.split_whitespace().last()) {
        Some("native") => Some(0),
        // CS cannot be hidden from a kernel that runs in another ring than it believes.
        Some("pv-ring1" | "trap") => Some(1),
        Some("pv-ring3") => Some(3),
        _ => None,
    };
    let agree = cs.is_some() && cs.map(|cs| cs & 3) == ring && ring == expected;
    report.check("kernel-ring", agree, format_args!("{}", kernel.lines().next().unwrap_or("(no answer)")));
    report.code()
}
