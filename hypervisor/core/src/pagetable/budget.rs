//! How much one call may do before it stops and asks to be made again.

/// Steps left, one being the look at one table entry. Work that finds the budget spent stops at the next
/// point where it can be resumed, never before it has done at least one entry, so a call that is repeated
/// often enough ends. An L1 table is checked or released as a whole: a call overruns by one at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    left: u32,
}

impl Budget {
    /// A budget of so many steps.
    pub const fn new(steps: u32) -> Self {
        Self { left: steps }
    }

    /// What a hypercall gets: a few L1 tables' worth of entries.
    pub const HYPERCALL: Self = Self::new(8192);

    /// Steps done.
    #[inline]
    pub fn charge(&mut self, steps: u32) {
        self.left = self.left.saturating_sub(steps);
    }

    /// Whether nothing is left.
    #[inline]
    pub const fn spent(self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_exactly_and_stays_ended() {
        let mut budget = Budget::new(3);
        budget.charge(2);
        assert!(!budget.spent());
        budget.charge(1);
        assert!(budget.spent());
        budget.charge(512);
        assert!(budget.spent());
    }
}
