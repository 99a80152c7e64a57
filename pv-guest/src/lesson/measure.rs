//! Counting what an act costs: instructions by the time stamp counter (which counts instructions under `-icount
//! shift=0`), and hypervisor entries by the hypervisor's own counters.

use core::fmt;
use core::hint::black_box;

use crate::cpu_ops::facts;

/// An act with up to two operands.
pub type Act = extern "C" fn(u64, u64);

/// What an act cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost {
    /// Instructions, those of the hypervisor included.
    pub instructions: u64,
    /// Times the hypervisor was entered, where it counts them.
    pub entries: Option<u64>,
}

impl fmt::Display for Cost {
    /// `INSTRUCTIONS/ENTRIES`, with a dash for entries that nobody counted.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entries {
            Some(entries) => write!(f, "{}/{entries}", self.instructions),
            None => write!(f, "{}/-", self.instructions),
        }
    }
}

/// Repetitions; the cheapest counts, so that a timer interrupt in one of them does not.
const RUNS: usize = 4;

extern "C" fn nothing(_: u64, _: u64) {}

/// One run: the cost of the act, of calling it, and of looking.
#[inline(never)]
fn once(act: Act, a: u64, b: u64) -> Cost {
    let act = black_box(act);
    let count = || facts().counters.map(|counters| counters());
    let before = count();
    // SAFETY: RDTSC only reads the counter.
    let start = unsafe { core::arch::x86_64::_rdtsc() };
    act(a, b);
    // SAFETY: as above.
    let end = unsafe { core::arch::x86_64::_rdtsc() };
    let after = count();
    let entries = before.zip(after).map(|(before, after)| after.since(&before).total_entries);
    Cost { instructions: end.wrapping_sub(start), entries }
}

/// The cost of an act, without that of calling it and of looking. `prepare` runs before each repetition.
pub fn cost(act: Act, a: u64, b: u64, mut prepare: impl FnMut()) -> Cost {
    let cheapest = |act: Act, a: u64, b: u64, prepare: &mut dyn FnMut()| {
        let mut best = Cost { instructions: u64::MAX, entries: Some(u64::MAX) };
        for _ in 0..RUNS {
            prepare();
            best = best.min(once(act, a, b));
        }
        best
    };
    let looking = cheapest(nothing, 0, 0, &mut || ());
    let with_act = cheapest(act, a, b, &mut prepare);
    Cost {
        instructions: with_act.instructions.saturating_sub(looking.instructions),
        entries: with_act.entries.zip(looking.entries).map(|(all, looking)| all.saturating_sub(looking)),
    }
}
