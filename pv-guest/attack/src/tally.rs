//! Counts of what became of the fuzzer's steps, by call.

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Outcome {
    /// The call did something: its result is not negative.
    Done,
    /// `EFAULT`.
    Fault,
    /// `EINVAL`.
    Invalid,
    /// `EPERM`.
    Forbidden,
    /// `ENOSYS`.
    Unknown,
    /// `EBUSY`.
    Busy,
    /// `ESRCH`.
    NoDomain,
    /// `ENOENT`.
    NoEntry,
    /// Another error.
    Other,
    /// It did not return: an exception, an event, a system call came instead.
    Raised,
}

/// Kinds of outcome.
pub const OUTCOMES: usize = 10;

/// Their names, in order.
pub const NAMES: [&str; OUTCOMES] =
    ["done", "EFAULT", "EINVAL", "EPERM", "ENOSYS", "EBUSY", "ESRCH", "ENOENT", "other", "raised"];

impl Outcome {
    /// Of a hypercall's RAX.
    pub const fn of(rax: u64) -> Self {
        match rax as i64 {
            0.. => Self::Done,
            -14 => Self::Fault,
            -22 => Self::Invalid,
            -1 => Self::Forbidden,
            -38 => Self::Unknown,
            -16 => Self::Busy,
            -3 => Self::NoDomain,
            -2 => Self::NoEntry,
            _ => Self::Other,
        }
    }
}

/// Kinds of steps that are counted apart: calls by number, and steps that are no calls above them.
pub const KINDS: usize = 80;

/// The counts.
#[derive(Clone, Debug)]
pub struct Tally {
    counts: [[u32; OUTCOMES]; KINDS],
}

impl Tally {
    /// All zero.
    pub const fn new() -> Self {
        Self { counts: [[0; OUTCOMES]; KINDS] }
    }

    /// Counts one; kinds out of range share the last place.
    pub fn count(&mut self, kind: usize, outcome: Outcome) {
        let count = &mut self.counts[kind.min(KINDS - 1)][outcome as usize];
        *count = count.saturating_add(1);
    }

    /// A kind's counts, if there are any.
    pub fn of(&self, kind: usize) -> Option<&[u32; OUTCOMES]> {
        self.counts.get(kind).filter(|counts| counts.iter().any(|&count| count > 0))
    }

    /// All counts of an outcome for kinds below `end`.
    pub fn sum(&self, end: usize, outcome: Outcome) -> u64 {
        self.counts[..end.min(KINDS)].iter().map(|counts| u64::from(counts[outcome as usize])).sum()
    }

    /// All counts for kinds below `end`.
    pub fn total(&self, end: usize) -> u64 {
        self.counts[..end.min(KINDS)].iter().flatten().map(|&count| u64::from(count)).sum()
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_sorted() {
        assert_eq!(Outcome::of(0), Outcome::Done);
        assert_eq!(Outcome::of(i64::MAX as u64), Outcome::Done);
        for (error, outcome) in [(14, Outcome::Fault), (22, Outcome::Invalid), (38, Outcome::Unknown)] {
            assert_eq!(Outcome::of(-i64::from(error) as u64), outcome);
        }
        assert_eq!(Outcome::of(-105i64 as u64), Outcome::Other);
        assert_eq!(NAMES[Outcome::Raised as usize], "raised");
    }

    #[test]
    fn sums_stop_at_the_end_given() {
        let mut tally = Tally::new();
        tally.count(3, Outcome::Done);
        tally.count(3, Outcome::Fault);
        tally.count(70, Outcome::Done);
        tally.count(1000, Outcome::Done);
        assert_eq!((tally.total(64), tally.sum(64, Outcome::Done)), (2, 1));
        assert_eq!((tally.total(KINDS), tally.sum(KINDS, Outcome::Done)), (4, 3));
        assert!(tally.of(3).is_some() && tally.of(4).is_none());
    }
}
