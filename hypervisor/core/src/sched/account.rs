//! What a domain and its vcpus have used, and what that makes them worth.

use alloc::vec::Vec;

use super::{CpuSet, MIN_TURN_NS, Parameters, PoolId};
use crate::addr::DomainId;

/// A domain's place moves on by this much in a nanosecond of one vcpu's running, divided by its weight.
pub(super) const SCALE: u128 = 1 << 16;

/// A cap is a bucket that holds what the domain may use in this time. Small enough that a domain of a few
/// percent still sees every tick of 100 Hz, large enough that one percent is worth a switch.
const CAP_PERIOD_NS: i64 = 10_000_000;

/// The bucket counts hundredths of nanoseconds, so that a percentage needs no division.
const PERCENT: i64 = 100;

/// One vcpu.
#[derive(Clone, Debug, Default)]
pub(super) struct Unit {
    /// Wants to run.
    pub awake: bool,
    /// The CPU that runs it; it may have fallen asleep there and not be off it yet.
    pub running: Option<usize>,
    /// The CPU that ran it before.
    pub last: Option<usize>,
    /// Time it has run.
    pub used: u64,
    /// Its place among its domain's vcpus: time run, corrected for long sleeps.
    pub place: u64,
    /// Since when it has been waiting.
    pub since: u64,
    /// How long it will still count as just woken.
    pub boost: u64,
    /// The processor that is its own for good, in a pool that gives them away.
    pub own: Option<usize>,
}

impl Unit {
    pub fn waits(&self) -> bool {
        self.awake && self.running.is_none()
    }
}

/// One domain.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub id: DomainId,
    pub weight: u64,
    pub cap: i64,
    pub pool: PoolId,
    /// Where it may run: its affinity, of which the pool's processors count.
    pub cpus: CpuSet,
    /// Its place in the pool's queue: time run by all its vcpus, divided by the weight. The lowest is next.
    pub place: u128,
    /// What is left of the cap, in hundredths of nanoseconds.
    pub budget: i64,
    filled: u64,
    /// It has used up its cap; when the bucket is full again.
    pub parked: Option<u64>,
    pub pauses: u32,
    /// Its waiting vcpus have become eligible and no processor has been told yet.
    pub fresh: bool,
    pub units: Vec<Option<Unit>>,
    pub used: u64,
}

impl Member {
    pub fn new(id: DomainId, parameters: &Parameters, now: u64) -> Self {
        let cap = i64::from(parameters.cap);
        Self {
            id,
            weight: u64::from(parameters.weight),
            cap,
            pool: parameters.pool,
            cpus: parameters.cpus,
            place: 0,
            budget: cap * CAP_PERIOD_NS,
            filled: now,
            parked: None,
            pauses: 0,
            fresh: false,
            units: Vec::new(),
            used: 0,
        }
    }

    /// Takes other parameters. What was used stays used; a cap starts with a full bucket.
    pub fn set(&mut self, parameters: &Parameters, now: u64) {
        self.weight = u64::from(parameters.weight);
        self.pool = parameters.pool;
        self.cpus = parameters.cpus;
        self.cap = i64::from(parameters.cap);
        self.budget = self.full();
        self.filled = now;
        self.parked = None;
        self.fresh = true;
    }

    /// Whether its vcpus may run at all.
    pub fn ready(&self) -> bool {
        self.pauses == 0 && self.parked.is_none()
    }

    /// Whether any of its vcpus wants to run, or does.
    pub fn active(&self) -> bool {
        self.units.iter().flatten().any(|unit| unit.awake || unit.running.is_some())
    }

    /// Its vcpus that could be picked, with their numbers.
    pub fn waiting(&self) -> impl Iterator<Item = (usize, &Unit)> {
        let ready = self.ready();
        let present = self.units.iter().enumerate().filter_map(|(at, unit)| Some((at, unit.as_ref()?)));
        present.filter(move |(_, unit)| ready && unit.waits())
    }

    pub fn unit(&self, at: usize) -> Option<&Unit> {
        self.units.get(at)?.as_ref()
    }

    pub fn unit_mut(&mut self, at: usize) -> Option<&mut Unit> {
        self.units.get_mut(at)?.as_mut()
    }

    /// Counts `ns` of one vcpu's running.
    pub fn charge(&mut self, at: usize, ns: u64) {
        if let Some(unit) = self.unit_mut(at) {
            unit.used += ns;
            unit.place += ns;
            unit.boost = unit.boost.saturating_sub(ns);
        }
        self.used += ns;
        self.place += u128::from(ns) * SCALE / u128::from(self.weight);
        if self.cap != 0 {
            self.budget = self.budget.saturating_sub((ns as i64).saturating_mul(PERCENT));
        }
    }

    /// The distance of two places, as time of one vcpu of this domain's.
    pub fn time_between(&self, ahead: u128, behind: u128) -> i128 {
        (ahead as i128 - behind as i128) * i128::from(self.weight) / SCALE as i128
    }

    /// How long one of its vcpus runs before another domain's turn comes, when the heaviest gets a whole `slice`:
    /// every turn is worth the same.
    pub fn turn(&self, slice: u64, heaviest: u64) -> u64 {
        (slice * self.weight / heaviest.max(self.weight)).max(MIN_TURN_NS)
    }

    fn full(&self) -> i64 {
        self.cap * CAP_PERIOD_NS
    }

    /// When the bucket is full again.
    fn full_at(&self, now: u64) -> u64 {
        let missing = self.full().saturating_sub(self.budget).max(0);
        now.saturating_add((missing as u64).div_ceil(self.cap.max(1) as u64))
    }

    /// Fills the bucket up to now, after everything used was counted. True when the domain has just used up its
    /// cap, so that its running vcpus must stop; never when its pool knows no caps.
    pub fn refill(&mut self, now: u64, capping: bool) -> bool {
        if !capping {
            self.parked = None;
            self.budget = self.full();
            self.filled = now;
            return false;
        }
        let passed = now.saturating_sub(self.filled) as i64;
        self.filled = self.filled.max(now);
        self.budget = self.budget.saturating_add(self.cap.saturating_mul(passed)).min(self.full());
        match self.parked {
            Some(_) if self.budget >= self.full() => {
                self.parked = None;
                self.fresh = true;
                false
            }
            Some(_) => {
                self.parked = Some(self.full_at(now));
                false
            }
            None if self.budget <= 0 => {
                self.parked = Some(self.full_at(now));
                true
            }
            None => false,
        }
    }

    /// How long the cap lasts with as many vcpus running as there are.
    pub fn lasts(&self) -> Option<u64> {
        let running = self.units.iter().flatten().filter(|unit| unit.running.is_some()).count() as i64;
        let drain = running * PERCENT - self.cap;
        (self.cap != 0 && drain > 0).then(|| (self.budget.max(1) as u64).div_ceil(drain as u64))
    }

    /// Corrects the place of a vcpu that wakes: it has neither saved up its sleep, nor does it pay for the time
    /// it ran alone.
    pub fn place_unit(&mut self, at: usize, bound: u64) {
        let others = self.units.iter().enumerate().filter(|(other, _)| *other != at);
        let lowest = others.filter_map(|(_, unit)| unit.as_ref().filter(|u| u.awake).map(|u| u.place)).min();
        if let (Some(lowest), Some(unit)) = (lowest, self.unit_mut(at)) {
            unit.place = unit.place.clamp(lowest.saturating_sub(bound), lowest + bound);
        }
    }
}
