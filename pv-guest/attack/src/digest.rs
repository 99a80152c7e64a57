//! A sum over words, which tells whether any has changed.

use core::fmt;

/// FNV-1a by words (Fowler, Noll and Vo).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// The sum of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Takes a word in.
    pub fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x100_0000_01b3);
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_of_each_word_matters() {
        let of = |words: &[u64]| {
            let mut digest = Digest::new();
            words.iter().for_each(|word| digest.add(*word));
            digest
        };
        let first = of(&[1, 2, 3]);
        assert_ne!(first, of(&[1, 3, 2]));
        for bit in 0..64 {
            assert_ne!(first, of(&[1, 2 ^ 1 << bit, 3]), "bit {bit}");
        }
        assert_eq!(first.to_string().len(), 16);
    }
}
