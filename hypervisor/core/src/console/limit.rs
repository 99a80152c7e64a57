//! A limit on messages that guests can provoke.

/// Messages at once.
const BURST: u64 = 10;
/// Nanoseconds in which one more may be printed.
const EACH_NS: u64 = 5_000_000_000;

/// Lets messages through: ten at once, then one in five seconds, as Xen limits what lies between the two levels of
/// `guest_loglvl`.
#[derive(Clone, Copy, Debug)]
pub struct Limiter {
    /// Time saved up.
    saved: u64,
    last: u64,
    suppressed: u64,
}

impl Limiter {
    /// A limit that nobody has used.
    pub const fn new() -> Self {
        Self { saved: BURST * EACH_NS, last: 0, suppressed: 0 }
    }

    /// Whether a message may be printed at a system time, and how many were not since the last that was.
    pub fn allow(&mut self, now: u64) -> Option<u64> {
        self.saved = self.saved.saturating_add(now.saturating_sub(self.last)).min(BURST * EACH_NS);
        self.last = now;
        if self.saved < EACH_NS {
            self.suppressed += 1;
            return None;
        }
        self.saved -= EACH_NS;
        Some(core::mem::take(&mut self.suppressed))
    }
}

impl Default for Limiter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn ten_at_once_then_one_in_five_seconds() {
        let mut limiter = Limiter::new();
        let allowed: Vec<Option<u64>> = (0..14).map(|n| limiter.allow(n)).collect();
        assert!(allowed[..10].iter().all(|one| *one == Some(0)) && allowed[10..].iter().all(Option::is_none));
        assert_eq!(limiter.allow(EACH_NS), Some(4));
        assert_eq!(limiter.allow(2 * EACH_NS - 1), None);
        assert_eq!(limiter.allow(2 * EACH_NS), Some(1));
        // However long it was quiet, ten are the most.
        let late = 1000 * EACH_NS;
        assert_eq!((0..20).filter(|_| limiter.allow(late).is_some()).count(), 10);
        // A clock that goes back saves nothing up.
        assert_eq!(limiter.allow(0), None);
    }
}
