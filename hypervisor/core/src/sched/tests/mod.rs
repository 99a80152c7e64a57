//! A simulator, and what the scheduler promises, claim by claim.

mod caps;
mod invariants;
mod latency;
mod pools;
mod shares;
mod sim;

use super::*;
use sim::{Does, Sim};

/// A domain's id, as its number.
const fn dom(id: u16) -> DomainId {
    DomainId(id)
}

const fn key(id: u16, vcpu: u32) -> VcpuKey {
    VcpuKey { domain: dom(id), vcpu }
}

fn weight(weight: u16) -> Parameters {
    Parameters { weight, ..Parameters::default() }
}

fn capped(cap: u16) -> Parameters {
    Parameters { cap, ..Parameters::default() }
}

fn on(cpus: &[usize]) -> Parameters {
    Parameters { cpus: cpus.iter().copied().collect(), ..Parameters::default() }
}

/// Whether a number is what is expected, but for `percent` of it.
#[track_caller]
fn assert_near(is: u64, should: u64, percent: u64, what: &str) {
    assert!(is.abs_diff(should) * 100 <= should * percent, "{what}: {is}, not {should} within {percent} %");
}

/// A small generator (xorshift), so that a failure can be run again by its seed.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }
}
