//! Round trips the kernel can count by itself. Those that start in ring 3 are counted by a program.

use core::fmt::Write;

use crate::cpu_ops::hypercall::raw_null_hypercall;
use crate::lesson::measure::cost;

extern "C" fn null_hypercall(_: u64, _: u64) {
    raw_null_hypercall();
}

/// Counts a null hypercall: the call into the hypercall page, the way in and out, and nothing between.
pub fn report(out: &mut dyn Write) {
    let null = cost(null_hypercall, 0, 0, || ());
    // The reader's buffer takes everything.
    let _ = match null.entries {
        Some(entries) => {
            writeln!(out, "bench.null-hypercall instructions={} entries={entries}", null.instructions)
        }
        None => writeln!(out, "bench.null-hypercall instructions={}", null.instructions),
    };
}
