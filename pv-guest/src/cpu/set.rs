//! Sets of CPUs: one word, which is also the bitmap that flush calls take.

/// Most CPUs this kernel uses.
pub const MAX_CPUS: usize = 64;

/// A set of CPUs by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct CpuSet(pub u64);

impl CpuSet {
    /// No CPU.
    pub const EMPTY: Self = Self(0);
    /// Every CPU there could be.
    pub const ALL: Self = Self(u64::MAX);

    /// One CPU.
    pub const fn one(cpu: u32) -> Self {
        Self(1 << cpu)
    }

    /// Whether a CPU is in it.
    pub const fn contains(self, cpu: u32) -> bool {
        self.0 & (1 << cpu) != 0
    }

    /// This set and one more.
    #[must_use]
    pub const fn with(self, cpu: u32) -> Self {
        Self(self.0 | 1 << cpu)
    }

    /// This set but for one.
    #[must_use]
    pub const fn without(self, cpu: u32) -> Self {
        Self(self.0 & !(1 << cpu))
    }

    /// What is in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The lowest.
    pub const fn first(self) -> Option<u32> {
        if self.0 == 0 { None } else { Some(self.0.trailing_zeros()) }
    }

    /// All, upwards.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        let mut rest = self;
        core::iter::from_fn(move || {
            let cpu = rest.first()?;
            rest = rest.without(cpu);
            Some(cpu)
        })
    }
}

impl FromIterator<u32> for CpuSet {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        cpus.into_iter().fold(Self::EMPTY, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_and_their_members() {
        let set: CpuSet = [5, 0, 63, 5].into_iter().collect();
        assert_eq!(set.0, 1 << 63 | 1 << 5 | 1);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 5, 63]);
        assert_eq!((set.len(), set.first()), (3, Some(0)));
        assert!(set.contains(63) && !set.contains(62));
        assert_eq!(set.without(0).first(), Some(5));
        assert_eq!(set.and(CpuSet::one(5)), CpuSet::one(5));
        assert!(CpuSet::EMPTY.is_empty() && CpuSet::EMPTY.first().is_none());
    }
}
