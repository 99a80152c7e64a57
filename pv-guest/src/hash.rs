//! A seeded hasher for the kernel's hash tables: keys come from programs (pids, file pages), so the table's shape must
//! not be theirs to choose.

use core::hash::{BuildHasher, Hasher};

use spin::Once;

use crate::random;

/// Builds hashers that share one random seed.
#[derive(Clone, Copy, Default)]
pub struct Seeded;

static SEED: Once<u64> = Once::new();

/// Folds words into a state by 128-bit multiplication, both halves kept.
pub struct FoldHasher(u64);

impl BuildHasher for Seeded {
    type Hasher = FoldHasher;

    fn build_hasher(&self) -> FoldHasher {
        FoldHasher(*SEED.call_once(random::next))
    }
}

impl Hasher for FoldHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        // The constant is the fraction of the golden ratio, odd, with well-mixed bits.
        let product = u128::from(self.0 ^ value) * 0x9e37_79b9_7f4a_7c15_u128;
        self.0 = (product as u64) ^ ((product >> 64) as u64).rotate_left(23);
    }
}
