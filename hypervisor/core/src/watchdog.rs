//! Which processor is stuck in the hypervisor: decided from what another one sees of it, again and again.
//!
//! Only looks count, not time alone: a machine that is itself a program may stand still as a whole, and after such
//! a pause everybody seems to have been where they are for long. So each look adds at most a quarter of the timeout
//! to what a processor has been seen at.

use alloc::vec;
use alloc::vec::Vec;

/// What is seen of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// It advances whenever the processor enters the hypervisor or wakes.
    pub turns: u64,
    /// It is in the hypervisor, and neither sleeps nor waits for somebody else's lock.
    pub busy: bool,
}

/// A processor that does not come out of the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// Its number.
    pub cpu: usize,
    /// How long it has been seen at the same, in ticks.
    pub ticks: u64,
}

/// What the looks so far came to.
#[derive(Clone, Debug)]
pub struct Watchdog {
    timeout: u64,
    last_look: u64,
    /// By number: the turn it was last seen at, and for how many ticks.
    seen: Vec<(u64, u64)>,
}

impl Watchdog {
    /// A watchdog over so many processors, whose patience is `timeout` ticks. Looks must come at least four times
    /// as often.
    pub fn new(cpus: usize, timeout: u64, now: u64) -> Self {
        Self { timeout, last_look: now, seen: vec![(0, 0); cpus] }
    }

    /// Takes what is seen of all processors, by number, at `now` in ticks. Names the first that has been at the same
    /// for longer than the timeout.
    pub fn look(&mut self, now: u64, sights: impl IntoIterator<Item = Sight>) -> Option<Stuck> {
        // Another processor's clock may be a little behind.
        let passed = now.saturating_sub(self.last_look).min(self.timeout / 4);
        self.last_look = self.last_look.max(now);
        let mut stuck = None;
        for (cpu, (sight, (turns, ticks))) in sights.into_iter().zip(&mut self.seen).enumerate() {
            if !sight.busy || sight.turns != *turns {
                (*turns, *ticks) = (sight.turns, 0);
                continue;
            }
            *ticks = ticks.saturating_add(passed);
            if *ticks > self.timeout && stuck.is_none() {
                stuck = Some(Stuck { cpu, ticks: *ticks });
            }
        }
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: u64 = 1000;

    fn sight(turns: u64, busy: bool) -> Sight {
        Sight { turns, busy }
    }

    #[test]
    fn a_processor_that_stays_is_named_after_the_timeout() {
        let mut watchdog = Watchdog::new(3, TIMEOUT, 0);
        for now in (100..=1100).step_by(100) {
            let sights = [sight(now, true), sight(7, true), sight(9, false)];
            assert_eq!(watchdog.look(now, sights), None, "at {now}");
        }
        let sights = [sight(0, true), sight(7, true), sight(9, false)];
        assert_eq!(watchdog.look(1200, sights), Some(Stuck { cpu: 1, ticks: 1100 }));
    }

    #[test]
    fn coming_out_for_a_moment_is_enough() {
        let mut watchdog = Watchdog::new(1, TIMEOUT, 0);
        for now in (0..100_000).step_by(200) {
            // The same turn for 900 ticks at most; or another, always busy when it is looked at.
            assert_eq!(watchdog.look(now, [sight(now / 900, true)]), None, "at {now}");
        }
    }

    #[test]
    fn waiting_and_sleeping_are_no_work() {
        let mut watchdog = Watchdog::new(1, TIMEOUT, 0);
        for now in (0..100_000).step_by(200) {
            assert_eq!(watchdog.look(now, [sight(1, now % 1000 != 0)]), None, "at {now}");
        }
    }

    #[test]
    fn a_pause_of_the_whole_machine_counts_little() {
        let mut watchdog = Watchdog::new(1, TIMEOUT, 0);
        assert_eq!(watchdog.look(10, [sight(1, true)]), None);
        for pause in 1..=4 {
            assert_eq!(watchdog.look(pause * 1_000_000, [sight(1, true)]), None, "pause {pause}");
        }
        assert_eq!(watchdog.look(5_000_000, [sight(1, true)]), Some(Stuck { cpu: 0, ticks: 1250 }));
    }

    #[test]
    fn clocks_that_disagree_do_no_harm() {
        let mut watchdog = Watchdog::new(1, TIMEOUT, 5000);
        for now in [4000, 6000, 5500, 6100] {
            assert_eq!(watchdog.look(now, [sight(1, true)]), None, "at {now}");
        }
    }
}
