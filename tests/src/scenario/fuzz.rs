//! The fuzzer in the attacking kernel, for as many hypercalls as are wanted.

use super::attack::{self, Machine};
use super::{Context, Outcome};
use crate::status::Status;
use anyhow::{Context as _, Result, bail, ensure};
use std::time::Duration;

/// What a run of the fuzzer came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fuzzed {
    /// The first step that was not reached.
    reached: u64,
    /// Calls made, and those that did something.
    calls: u64,
    done: u64,
    /// Domains that the hypervisor ended.
    crashes: u64,
}

impl std::ops::Add for Fuzzed {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            reached: self.reached.max(other.reached),
            calls: self.calls + other.calls,
            done: self.done + other.done,
            crashes: self.crashes + other.crashes,
        }
    }
}

/// Steps between two lines of the fuzzer's; a run that ended early is taken up behind the last one.
const EPOCH: u64 = 1000;

/// A machine runs for this many steps, so that a run that hangs is noticed within an hour.
const STEPS: u64 = 2_000_000;
/// Calls of a step, at least, where every other is a long batch.
const BATCH_CALLS: u64 = 10;
const HOUR: Duration = Duration::from_secs(3600);

/// Domains that a run may lose, for each million of calls.
const MOST_CRASHES: u64 = 20;

/// What is fuzzed with.
#[derive(Clone, Copy, Debug)]
struct Plan {
    seed: u64,
    /// Calls that are wanted.
    calls: u64,
    /// The second vcpu scribbles the first one's arguments and pages.
    contested: bool,
    /// The kernel runs in ring 3.
    ring3: bool,
    /// It is a PC's.
    pc: bool,
    /// Most calls are made in long batches.
    batches: bool,
}

impl Plan {
    const fn new(seed: u64, calls: u64) -> Self {
        Self { seed, calls, contested: false, ring3: false, pc: false, batches: false }
    }

    const fn contested(self) -> Self {
        Self { contested: true, ..self }
    }

    const fn batches(self) -> Self {
        Self { batches: true, ..self }
    }

    const fn pc(self) -> Self {
        Self { pc: true, ..self }
    }

    const fn ring3(self) -> Self {
        Self { ring3: true, ..self }
    }
}

/// A million hypercalls.
pub fn short(context: &Context) -> Result<Outcome> {
    told(fuzz(context, Plan::new(1, 1_000_000))?)
}

/// A hundred million, most of them in batches: two machines at a time, each with a seed of its own.
pub fn long(context: &Context) -> Result<Outcome> {
    let half = |seed| Plan::new(seed, 50_000_000).batches();
    let [first, second] = std::thread::scope(|scope| {
        let runs = [2, 3].map(|seed| scope.spawn(move || fuzz(context, half(seed))));
        runs.map(|run| run.join().unwrap_or_else(|_| bail!("a thread of the driver panicked")))
    });
    told(first? + second?)
}

/// A tenth of them, by a kernel in ring 3.
pub fn ring3(context: &Context) -> Result<Outcome> {
    told(fuzz(context, Plan::new(5, 100_000).ring3())?)
}

/// A million by a kernel in ring 3, and as many beside a second vcpu.
pub fn ring3_long(context: &Context) -> Result<Outcome> {
    let alone = fuzz(context, Plan::new(5, 1_000_000).ring3())?;
    told(alone + fuzz(context, Plan::new(6, 1_000_000).ring3().contested())?)
}

/// Some steps of a PC's fuzzer; and an epoch in which a step takes the serial port away from the sum of all of them.
pub fn trap(context: &Context) -> Result<Outcome> {
    let plan = Plan::new(8, 995_000).pc();
    let silenced = once(context, plan, Fuzzed { reached: 994_000, calls: 994_000, ..Fuzzed::default() })?;
    ensure!(silenced.crashes == 0, "the PC ended before it said its sum: {silenced:?}");
    told(fuzz(context, Plan::new(7, 20_000).pc())?)
}

/// A million of them.
pub fn trap_long(context: &Context) -> Result<Outcome> {
    told(fuzz(context, Plan::new(8, 1_000_000).pc())?)
}

/// A second vcpu scribbles every page it can reach while the first makes seeded hypercalls: here some of the million that
/// [`contested_whole`] makes.
pub fn contested(context: &Context) -> Result<Outcome> {
    told(fuzz(context, Plan::new(4, 20_000).contested())?)
}

/// As [`contested`], a million.
pub fn contested_whole(context: &Context) -> Result<Outcome> {
    told(fuzz(context, Plan::new(4, 1_000_000).contested())?)
}

fn told(run: Fuzzed) -> Result<Outcome> {
    let Fuzzed { calls, done, crashes, .. } = run;
    Ok(Outcome::Passed(format!("{calls} calls, {done} did something, {crashes} domains ended")))
}

/// Fuzzes until so many calls were made. A domain that the hypervisor ended is started again behind the epoch in which it
/// ended; anything else that ends a run is an error.
fn fuzz(context: &Context, plan: Plan) -> Result<Fuzzed> {
    let mut sum = Fuzzed::default();
    while sum.calls < plan.calls {
        let run = once(context, plan, sum)?;
        sum = Fuzzed { reached: run.reached, ..sum + run };
        if sum.crashes > MOST_CRASHES * (1 + sum.calls / 1_000_000) {
            let Fuzzed { crashes, reached, .. } = sum;
            bail!("{crashes} domains were ended within {reached} steps: the fuzzer damages itself too often");
        }
    }
    if sum.done * 100 < sum.calls * 30 {
        bail!("{} of {} calls did something, 30 % are wanted", sum.done, sum.calls);
    }
    Ok(sum)
}

/// One machine, which goes on where the sum says.
fn once(context: &Context, plan: Plan, sum: Fuzzed) -> Result<Fuzzed> {
    let from = sum.reached;
    let each = if plan.batches { BATCH_CALLS } else { 1 };
    let steps = STEPS.min((plan.calls - sum.calls).div_ceil(each)).next_multiple_of(EPOCH);
    let batches = if plan.batches { " batches" } else { "" };
    let words = format!("fuzz={},{},{from}{batches}", plan.seed, from + steps);
    let mut options = vec!["--timeout", "3600", "--silence", "600"];
    if plan.contested {
        options.extend(["--smp", "2", "--vcpus", "2"]);
    }
    let machine =
        Machine { words: &words, options: &options, ring3: plan.ring3, pc: plan.pc, ..Machine::default() };
    let (driver, status) = attack::run(context, machine, &[Status::Good, Status::GuestCrash], 2 * HOUR)?;
    let (ended, under_way) = (sum_of(driver.console.lines()), under_way(driver.console.lines()));
    if status == Status::Good {
        return ended.with_context(|| format!("{words} ended well without its sum:\n{}", driver.tail()));
    }
    let run = under_way.with_context(|| format!("no line of {words}'s steps:\n{}", driver.tail()))?;
    Ok(Fuzzed { reached: run.reached / EPOCH * EPOCH + EPOCH, crashes: 1, ..run })
}

/// The last line of the fuzzer's that can be read so.
fn last(lines: &[String], read: impl Fn(&str) -> Option<Fuzzed>) -> Option<Fuzzed> {
    lines.iter().rev().find_map(|line| read(line.strip_prefix("fuzz: seed ")?))
}

/// The number that stands so many words behind this one.
fn number(line: &str, name: &str, offset: isize) -> Option<u64> {
    let words: Vec<&str> = line.split([' ', ':', ',']).collect();
    let at = words.iter().position(|word| *word == name)?;
    words.get(at.checked_add_signed(offset)?)?.parse().ok()
}

/// What a run that came to its end says: `fuzz: seed S steps A to B: C calls, D done`.
fn sum_of(lines: &[String]) -> Option<Fuzzed> {
    last(lines, |line| {
        let (calls, done) = (number(line, "calls", -1)?, number(line, "done", -1)?);
        Some(Fuzzed { reached: number(line, "to", 1)?, calls, done, crashes: 0 })
    })
}

/// What it says at the beginning of each epoch: `fuzz: seed S at N calls C done D`.
fn under_way(lines: &[String]) -> Option<Fuzzed> {
    last(lines, |line| {
        let (calls, done) = (number(line, "calls", 1)?, number(line, "done", 1)?);
        Some(Fuzzed { reached: number(line, "at", 1)?, calls, done, crashes: 0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_fuzzers_lines_are_read() {
        let early = lines(
            "fuzz: seed 1 steps 0 to 5000, begun at 0\nfuzz: seed 1 at 2000 calls 2358 done 1244\nother",
        );
        assert_eq!(under_way(&early), Some(Fuzzed { reached: 2000, calls: 2358, done: 1244, crashes: 0 }));
        assert_eq!(sum_of(&early), None, "a run that says no sum has none");
        let end = lines(
            "fuzz: seed 1 at 2000 calls 2358 done 1244\n\
             fuzz: seed 1 steps 0 to 3000: 3000 calls, 1600 done (53 %), frames lost 11",
        );
        assert_eq!(sum_of(&end), Some(Fuzzed { reached: 3000, calls: 3000, done: 1600, crashes: 0 }));
        assert_eq!(under_way(&lines("nothing")), None);
    }
}
