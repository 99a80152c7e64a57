//! What an act costs: instructions, by the time stamp counter, which counts them under `-icount shift=0`.

use core::fmt::{self, Write};
use core::hint::black_box;

use super::marks;
use crate::boot;

/// An act.
pub type Act<'a> = &'a mut dyn FnMut();

/// Repetitions of which the least is taken, so that a timer interrupt in one of them does not show.
const RUNS: usize = 8;
/// Most runs that are shown.
const SHOWN: usize = 4;

/// One run: the instructions of the act, of calling it, and of looking.
#[inline(never)]
fn once(act: Act<'_>) -> u64 {
    let act = black_box(act);
    // SAFETY: RDTSC only reads the counter.
    let start = unsafe { core::arch::x86_64::_rdtsc() };
    act();
    // SAFETY: as above.
    let end = unsafe { core::arch::x86_64::_rdtsc() };
    end.wrapping_sub(start)
}

/// The least of several runs.
fn least(prepare: Act<'_>, act: Act<'_>) -> u64 {
    let mut best = u64::MAX;
    for _ in 0..RUNS {
        prepare();
        best = best.min(once(act));
    }
    best
}

/// Runs the act once more between two marks, for whoever watches the machine, and again where that took longer than the
/// least; the least of these runs is what it costs.
fn show(name: &str, prepare: Act<'_>, act: Act<'_>, least: u64) -> u64 {
    let mut best = u64::MAX;
    for _ in 0..SHOWN {
        prepare();
        marks::begins(name);
        best = best.min(once(act));
        marks::ends(name);
        if best <= least {
            break;
        }
    }
    best
}

/// Whether the kernel's arguments ask for an operation: `only=` names some, with colons between them; else all are wanted.
fn is_wanted(name: &str) -> bool {
    let only = boot::cmdline().split_whitespace().find_map(|word| word.strip_prefix("only="));
    only.is_none_or(|names| names.split(':').any(|wanted| wanted == name))
}

/// Counts an act, if it is wanted, and writes its line: `compare NAME instructions=N looking=N`. The second, the cost of
/// calling an empty act and of looking, is taken off the first. `prepare` runs before each repetition.
pub fn line(out: &mut dyn Write, name: &str, prepare: Act<'_>, act: Act<'_>) -> fmt::Result {
    if !is_wanted(name) {
        return Ok(());
    }
    let looking = least(&mut || (), &mut || ());
    let least = least(prepare, act);
    let cost = show(name, prepare, act, least);
    writeln!(out, "compare {name} instructions={} looking={looking}", cost.saturating_sub(looking))
}
