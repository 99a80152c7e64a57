//! The fuzzer: steps derived from a seed and an index, in epochs that each begin with the same state.
//!
//! `fuzz=SEED,TO,FROM` does the steps from FROM to TO. A step depends on the seed, its index, and what the steps before it in
//! its epoch have left; an epoch begins by rebuilding the part of the domain that steps may ruin ([`arena`]). So a window
//! of steps is repeated by starting it again, from the epoch that FROM lies in.
//!
//! Where the domain has more vcpus, they [`scribble`] what the calls read while they are made.

mod arena;
mod scribble;
mod steps;

use paravane_abi::hypercall::ROWS;
use pv_attack_logic::random::Random;
use pv_attack_logic::tally::{KINDS, NAMES, Outcome, Tally};

pub use arena::wake_at;
pub use steps::system_time;

use crate::{say, smp};

/// Steps of an epoch.
const EPOCH: u64 = 1000;
/// A window of so many steps is shown step by step.
const SHOWN: u64 = 100;
/// Epochs between two lines.
const REPORT: u64 = 10;

/// Kinds of steps that are no calls, counted behind them.
const OTHER: [(usize, &str); 6] =
    [(64, "write"), (65, "program"), (66, "privileged"), (67, "iret"), (68, "iretq"), (69, "other-number")];
/// Kinds below this are calls.
const CALLS: usize = 64;

/// Runs the steps from `from` to `to`. With `batches` every other is a long batch: an entry into the hypervisor costs an
/// emulator more than the call, so most of a long run is made in them.
pub fn run(seed: u64, from: u64, to: u64, batches: bool) {
    let mut world = arena::world();
    world.batches = batches;
    let mut tally = Tally::new();
    let vcpus = smp::start_all();
    world.contested = vcpus > 1;
    smp::give(scribble::scribble);
    let first = from / EPOCH * EPOCH;
    let mut index = first;
    let mut lost = 0;
    say!("fuzz: seed {seed} steps {from} to {to}, begun at {first}, {vcpus} vcpus");
    while index < to {
        if index.is_multiple_of(EPOCH) {
            lost = arena::rebuild(&mut world);
            say_epoch(seed, index, lost, &tally);
        }
        crate::print::at_step(seed, index);
        let mut random = Random::at(seed, index);
        world.now = steps::system_time();
        let touched = steps::step(&mut world, &mut random, &mut tally, index >= from && to - from <= SHOWN);
        if !arena::recover(touched) {
            panic!("the core is damaged");
        }
        index += 1;
    }
    smp::gather();
    summary(seed, from, to, lost, &tally);
}

/// A line now and then: where the run is, for whoever has to repeat it.
fn say_epoch(seed: u64, index: u64, lost: usize, tally: &Tally) {
    let calls = tally.total(CALLS);
    let done = tally.sum(CALLS, Outcome::Done);
    if (index / EPOCH).is_multiple_of(REPORT) || lost > 0 {
        say!("fuzz: seed {seed} at {index} calls {calls} done {done} frames lost {lost}");
    } else {
        say!("fuzz: seed {seed} at {index} calls {calls} done {done}");
    }
}

fn name(kind: usize) -> &'static str {
    let row = ROWS.iter().find(|row| row.number as usize == kind);
    let other = OTHER.iter().find(|(number, _)| *number == kind);
    row.map(|row| row.name).or(other.map(|(_, name)| *name)).unwrap_or("unnamed")
}

/// What became of the steps, by call; then the sum.
fn summary(seed: u64, from: u64, to: u64, lost: usize, tally: &Tally) {
    for kind in 0..KINDS {
        let Some(counts) = tally.of(kind) else { continue };
        let c = |outcome: usize| (NAMES[outcome], counts[outcome]);
        let (a, b, d, e, f) = (c(0), c(1), c(2), c(3), c(4));
        let (g, h, i, j, k) = (c(5), c(6), c(7), c(8), c(9));
        say!(
            "fuzz: histogram {} {}={} {}={} {}={} {}={} {}={} {}={} {}={} {}={} {}={} {}={}",
            name(kind),
            a.0,
            a.1,
            b.0,
            b.1,
            d.0,
            d.1,
            e.0,
            e.1,
            f.0,
            f.1,
            g.0,
            g.1,
            h.0,
            h.1,
            i.0,
            i.1,
            j.0,
            j.1,
            k.0,
            k.1
        );
    }
    let (calls, done) = (tally.total(CALLS), tally.sum(CALLS, Outcome::Done));
    let share = done * 100 / calls.max(1);
    say!(
        "fuzz: seed {seed} steps {from} to {to}: {calls} calls, {done} done ({share} %), frames lost {lost}"
    );
    let verdict = if share >= 30 { "ok" } else { "FAILED" };
    say!("{verdict} fuzz.reaches {share} % of {calls} calls did something");
    say!("demo: {} ok, {} failed", u32::from(share >= 30), u32::from(share < 30));
}
