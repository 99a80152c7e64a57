//! The bookkeeping of a periodic timer: which ticks were served in time.

/// Ticks at `start + n * period` for n from 1; times in nanoseconds.
pub struct Ticks {
    start: u64,
    period: u64,
    /// The number of the next tick that has not been accounted for.
    next: u64,
    served: u64,
    missed: u64,
    worst_delay: u64,
}

impl Ticks {
    /// A timer that starts now.
    pub fn new(start: u64, period: u64) -> Self {
        Self { start, period, next: 1, served: 0, missed: 0, worst_delay: 0 }
    }

    /// When the next tick is due.
    pub fn deadline(&self) -> u64 {
        self.start + self.next * self.period
    }

    /// Accounts for all ticks that are due at `now`, which is when a timer event was handled. A tick is missed when the
    /// one after it is due before it was handled.
    pub fn handle(&mut self, now: u64) {
        let Some(late) = now.checked_sub(self.deadline()) else { return };
        let skipped = late / self.period;
        self.missed += skipped;
        self.served += 1;
        self.next += skipped + 1;
        self.worst_delay = self.worst_delay.max(late);
    }

    /// Ticks that were due so far.
    pub fn due(&self) -> u64 {
        self.served + self.missed
    }

    /// Those of them that were missed.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The longest time from a tick's deadline to its handling.
    pub fn worst_delay(&self) -> u64 {
        self.worst_delay
    }

    /// Whether at most one tick in a hundred was missed, of at least one.
    pub fn is_good(&self) -> bool {
        self.due() > 0 && self.missed * 100 <= self.due()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_in_time_are_served() {
        let mut ticks = Ticks::new(1000, 10);
        for n in 1..=100 {
            assert_eq!(ticks.deadline(), 1000 + n * 10);
            // Too early: nothing is due.
            ticks.handle(1000 + n * 10 - 1);
            ticks.handle(1000 + n * 10 + 9);
        }
        assert_eq!((ticks.due(), ticks.missed(), ticks.worst_delay()), (100, 0, 9));
        assert!(ticks.is_good());
    }

    #[test]
    fn a_tick_is_missed_when_the_next_is_due() {
        let mut ticks = Ticks::new(0, 10);
        // Ticks 1, 2 and 3 are due, and the third is handled at its time.
        ticks.handle(30);
        assert_eq!((ticks.due(), ticks.missed(), ticks.deadline()), (3, 2, 40));
        assert!(!ticks.is_good());
        for now in (40..=2000).step_by(10) {
            ticks.handle(now);
        }
        assert_eq!((ticks.due(), ticks.missed()), (200, 2));
        assert!(ticks.is_good());
        ticks.handle(2020);
        assert!(!ticks.is_good());
    }

    #[test]
    fn nothing_due_is_not_good() {
        assert!(!Ticks::new(0, 10).is_good());
    }
}
