//! What an act costs, count by count: instructions by the time stamp counter, which counts them under `-icount shift=0`,
//! and what the hypervisor counted meanwhile.

use core::fmt::{self, Write};
use core::hint::black_box;

use paravane_abi::ring1::Ring1Counters;

use crate::cpu_ops::facts;

/// An act.
pub type Act<'a> = &'a mut dyn FnMut();

/// What an act cost.
#[derive(Clone, Copy)]
struct Cost {
    instructions: u64,
    counters: Option<Ring1Counters>,
}

/// Repetitions. Of each count the least is taken, so that a timer interrupt in one of them does not show.
const RUNS: usize = 8;

/// One run: the cost of the act, of calling it, and of looking.
#[inline(never)]
fn once(act: Act<'_>) -> Cost {
    let act = black_box(act);
    let count = || facts().counters.map(|counters| counters());
    let before = count();
    // SAFETY: RDTSC only reads the counter.
    let start = unsafe { core::arch::x86_64::_rdtsc() };
    act();
    // SAFETY: as above.
    let end = unsafe { core::arch::x86_64::_rdtsc() };
    let after = count();
    let counters = before.zip(after).map(|(before, after)| after.since(&before));
    Cost { instructions: end.wrapping_sub(start), counters }
}

/// The least of several runs, count by count.
fn least(prepare: Act<'_>, act: Act<'_>) -> Cost {
    let mut best = Cost { instructions: u64::MAX, counters: None };
    for _ in 0..RUNS {
        prepare();
        let cost = once(act);
        best.instructions = best.instructions.min(cost.instructions);
        best.counters = match (best.counters, cost.counters) {
            (Some(best), Some(cost)) => Some(each(&best, &cost, u64::min)),
            (best, cost) => best.or(cost),
        };
    }
    best
}

/// The counts that a line tells, each made of two.
fn each(a: &Ring1Counters, b: &Ring1Counters, of: fn(u64, u64) -> u64) -> Ring1Counters {
    Ring1Counters {
        hypercalls: of(a.hypercalls, b.hypercalls),
        exceptions: of(a.exceptions, b.exceptions),
        interrupts: of(a.interrupts, b.interrupts),
        emulated: of(a.emulated, b.emulated),
        events_delivered: of(a.events_delivered, b.events_delivered),
        traps_bounced: of(a.traps_bounced, b.traps_bounced),
        cr3_loads: of(a.cr3_loads, b.cr3_loads),
        tlb_flushes: of(a.tlb_flushes, b.tlb_flushes),
        invlpg: of(a.invlpg, b.invlpg),
        total_entries: of(a.total_entries, b.total_entries),
    }
}

/// Counts an act and writes its line: `compare NAME instructions=N`, and where the hypervisor counts, `entries.REASON=N` for
/// each reason, `cr3=N` and `flushes=N`. The cost of calling the act and of looking is taken off. `prepare` runs before
/// each repetition.
pub fn line(out: &mut dyn Write, name: &str, prepare: Act<'_>, act: Act<'_>) -> fmt::Result {
    let looking = least(&mut || (), &mut || ());
    let cost = least(prepare, act);
    write!(out, "compare {name} instructions={}", cost.instructions.saturating_sub(looking.instructions))?;
    if let Some((all, looking)) = cost.counters.zip(looking.counters) {
        let own = each(&all, &looking, u64::saturating_sub);
        // An entry is one of three; hypercalls are counted one by one where several came in one entry.
        let hypercalls = own.total_entries.saturating_sub(own.exceptions).saturating_sub(own.interrupts);
        write!(out, " entries.hypercall={hypercalls} entries.exception={}", own.exceptions)?;
        write!(out, " entries.interrupt={}", own.interrupts)?;
        write!(out, " cr3={} flushes={}", own.cr3_loads, own.tlb_flushes + own.invlpg)?;
    }
    writeln!(out)
}
