//! Round trips the kernel can count by itself. Those that start in ring 3 are counted by a program.

use core::fmt::Write;

use crate::cpu_ops::facts;
use crate::cpu_ops::hypercall::raw_null_hypercall;
use crate::lesson::measure::cost;

extern "C" fn null_hypercall(_: u64, _: u64) {
    raw_null_hypercall();
}

/// Counts a null hypercall: the call into the hypercall page, the way in and out, and nothing between.
pub fn report(out: &mut dyn Write) {
    if let Some(why) = facts().why_not("bench.null-hypercall") {
        // The reader's buffer takes everything.
        let _ = writeln!(out, "n/a bench.null-hypercall {why}");
        return;
    }
    let null = cost(null_hypercall, 0, 0, || ());
    // The reader's buffer takes everything.
    let _ = match null.entries {
        Some(entries) => {
            writeln!(out, "bench.null-hypercall instructions={} entries={entries}", null.instructions)
        }
        None => writeln!(out, "bench.null-hypercall instructions={}", null.instructions),
    };
}
