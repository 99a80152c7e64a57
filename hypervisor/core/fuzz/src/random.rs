//! Choices made by an input, no more of its bytes than each needs.

use std::vec::IntoIter;

pub struct Random(IntoIter<u8>);

impl Random {
    pub fn new(input: &[u8]) -> Self {
        Self(Vec::from(input).into_iter())
    }

    fn bytes(&mut self, count: usize) -> u64 {
        self.0.by_ref().take(count).fold(0, |value, byte| value << 8 | u64::from(byte))
    }

    /// Zero when the input is over.
    pub fn next(&mut self) -> u64 {
        self.bytes(8)
    }

    /// A number below `limit`; zero when the input is over.
    pub fn below(&mut self, limit: usize) -> usize {
        let width = if limit <= 0x100 { 1 } else { 2 };
        self.bytes(width) as usize % limit
    }

    /// True so many times in a hundred; not when the input is over.
    pub fn percent(&mut self, chance: u64) -> bool {
        !self.is_over() && (self.below(100) as u64) < chance
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub fn is_over(&self) -> bool {
        self.0.len() == 0
    }
}
