//! Numbers that look random and are the same for the same seed: SplitMix64 (Steele, Lea and Flood, 2014).

/// A generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts at a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator for step `index` of the run with `seed`, the same whatever was drawn before.
    pub fn at(seed: u64, index: u64) -> Self {
        let mut random = Self::new(seed ^ index.wrapping_mul(0xd134_2543_de82_ef95));
        random.next();
        random
    }

    /// The next 64 bits.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// True once in `count` times.
    pub fn once_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// One of some values.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// A number of few bits or many: small ones and those near powers of two are likelier than others.
    pub fn sized(&mut self) -> u64 {
        let bits = self.below(65) as u32;
        let word = if bits == 0 { 0 } else { self.next() >> (64 - bits) };
        match self.below(8) {
            0 => 1u64.checked_shl(bits).unwrap_or(0).wrapping_sub(1),
            1 => 1u64.checked_shl(bits).unwrap_or(0),
            2 => word.wrapping_neg(),
            _ => word,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_depends_on_seed_and_index_alone() {
        let mut one = Random::at(7, 1000);
        let mut other = Random::at(7, 1000);
        assert_eq!(one.next(), other.next());
        assert_ne!(Random::at(7, 1001).next(), Random::at(7, 1000).next());
        assert_ne!(Random::at(8, 1000).next(), Random::at(7, 1000).next());
    }

    #[test]
    fn bounds_hold_and_are_reached() {
        let mut random = Random::new(1);
        let mut seen = [0u32; 5];
        for _ in 0..1000 {
            seen[random.below(5) as usize] += 1;
        }
        assert!(seen.iter().all(|&count| count > 100), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn sizes_reach_both_ends() {
        let mut random = Random::new(2);
        let words: Vec<u64> = (0..4000).map(|_| random.sized()).collect();
        assert!(words.contains(&0) && words.contains(&u64::MAX));
        assert!(words.iter().filter(|&&word| word < 256).count() > 200);
        assert!(words.iter().filter(|&&word| word > u64::MAX / 2).count() > 200);
    }
}
