//! Sets of processors.

use core::fmt;

/// How many processors there can be.
pub const MAX_CPUS: usize = 64;

/// A set of processors, by number: affinity, a pool's processors, those that have to look again.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct CpuSet(u64);

impl CpuSet {
    /// No processor.
    pub const EMPTY: Self = Self(0);
    /// Every processor there can be: no affinity.
    pub const ANY: Self = Self(u64::MAX);

    /// Processors 0 to `count - 1`.
    pub const fn first_of(count: usize) -> Self {
        if count >= MAX_CPUS { Self::ANY } else { Self((1 << count) - 1) }
    }

    /// One processor; none when there can be no such number.
    pub const fn of(cpu: usize) -> Self {
        if cpu < MAX_CPUS { Self(1 << cpu) } else { Self::EMPTY }
    }

    /// From a bitmap, as Xen's `xenctl_bitmap`: bit N is processor N.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// As a bitmap.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether it has none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many it has.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether it has this one.
    pub const fn contains(self, cpu: usize) -> bool {
        self.0 & Self::of(cpu).0 != 0
    }

    /// Whether all of the other's are its own.
    pub const fn contains_all(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Adds one.
    pub const fn insert(&mut self, cpu: usize) {
        self.0 |= Self::of(cpu).0;
    }

    /// Takes one out.
    pub const fn remove(&mut self, cpu: usize) {
        self.0 &= !Self::of(cpu).0;
    }

    /// Those of either.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Its own without the other's.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The lowest.
    pub const fn first(self) -> Option<usize> {
        if self.0 == 0 { None } else { Some(self.0.trailing_zeros() as usize) }
    }

    /// All of them, lowest first.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self;
        core::iter::from_fn(move || {
            let cpu = left.first()?;
            left.remove(cpu);
            Some(cpu)
        })
    }
}

impl FromIterator<usize> for CpuSet {
    fn from_iter<T: IntoIterator<Item = usize>>(cpus: T) -> Self {
        let mut set = Self::EMPTY;
        cpus.into_iter().for_each(|cpu| set.insert(cpu));
        set
    }
}

impl fmt::Debug for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// As Xen writes it: `0-3,5`.
impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = *self;
        let mut comma = "";
        while let Some(first) = left.first() {
            let mut last = first;
            left.remove(first);
            while left.contains(last + 1) {
                last += 1;
                left.remove(last);
            }
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn sets_are_bitmaps() {
        let mut set: CpuSet = [0, 1, 2, 5, 63].into_iter().collect();
        assert_eq!(set.bits(), 0x8000_0000_0000_0027);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 1, 2, 5, 63]);
        assert_eq!((set.len(), set.first()), (5, Some(0)));
        assert_eq!(set.to_string(), "0-2,5,63");
        set.remove(0);
        assert!(!set.contains(0) && set.contains(63) && !set.contains(64));
        assert!(set.contains_all(CpuSet::of(5)) && !set.contains_all(CpuSet::first_of(2)));
        assert_eq!(CpuSet::first_of(64), CpuSet::ANY);
        assert_eq!(CpuSet::of(64), CpuSet::EMPTY);
        assert_eq!(CpuSet::first_of(4).without(CpuSet::of(1)).to_string(), "0,2-3");
        assert_eq!(CpuSet::ANY.to_string(), "0-63");
        assert_eq!(CpuSet::EMPTY.to_string(), "");
    }
}
