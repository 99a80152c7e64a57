//! Pseudo-random words for hash seeds and a program's `AT_RANDOM` bytes. Seeded from the time stamp counter, so a run
//! under an instruction counter repeats exactly; nothing secret depends on it.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::arch;

static STATE: AtomicU64 = AtomicU64::new(0);

/// The next word (SplitMix64, which needs one word of state).
pub fn next() -> u64 {
    if STATE.load(Ordering::Relaxed) == 0 {
        STATE.store(arch::rdtsc() | 1, Ordering::Relaxed);
    }
    let mut z = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
