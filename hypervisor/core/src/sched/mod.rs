//! Who runs where, for how long: a scheduler with the vocabulary of Xen's credit scheduler and cpupools, which
//! knows no machine. Time comes in as nanoseconds; what comes out are names. `docs/scheduling.md` tells the whole
//! story.
//!
//! Every domain of a pool has a *place*: the time its vcpus have run, divided by its weight. The lowest place is
//! next, so shares follow weights, and only run time counts, to the nanosecond. A domain that slept is put at
//! most a bound behind the others, one that ran alone at most a bound ahead, so nobody saves up and nobody pays
//! for what cost nobody anything. A vcpu that wakes is *boosted*: it need not wait for the end of a turn. Since it
//! jumps the queue only as far as its domain's place allows, and the lower place always wins among the
//! boosted, waking often gains nothing over waking seldom.
//!
//! The caller tells what happens ([`Scheduler::wake`], [`Scheduler::sleep`], ...) and gets the processors that must
//! *look again*: each of them is to call [`Scheduler::pick`], soon, and by interrupt if it is another one. It does
//! so too at the time the last pick named. All calls must come with times that do not go back; one that does is
//! taken for the latest time known.

mod account;
mod cpuset;
mod offer;
mod order;
mod pick;
mod pool;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use paravane_abi::mmu::DOMID_IDLE;

pub use cpuset::{CpuSet, MAX_CPUS};
pub use pool::{PoolId, PoolPolicy};

use crate::addr::DomainId;
use account::{Member, Unit};
use pool::Pool;

const MS: u64 = 1_000_000;
/// Shortest turn, and what an overdue vcpu gets.
const MIN_TURN_NS: u64 = MS;
/// How long a vcpu counts as just woken, in time it runs: Xen's tick.
const BOOST_NS: u64 = 10 * MS;
/// A vcpu that has waited so long, and a slice for everyone else who waits, runs next whatever its place.
const OVERDUE_NS: u64 = 1_000 * MS;

/// One vcpu's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VcpuKey {
    /// Its domain.
    pub domain: DomainId,
    /// Its number.
    pub vcpu: u32,
}

impl VcpuKey {
    /// No guest's vcpu but the hypervisor's own housekeeping, which destroys and builds domains in bounded steps: it
    /// is scheduled like a domain of weight 256 in Pool-0, so nobody waits for it. It is always there, asleep
    /// at first.
    pub const WORKER: Self = Self { domain: DomainId(DOMID_IDLE), vcpu: 0 };
}

/// What a domain gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Its share against the other domains of its pool, 1 to 65535, whatever the number of its vcpus.
    pub weight: u16,
    /// The most it may use in all, in percent of one processor; 0 for no cap.
    pub cap: u16,
    /// Where it may run; processors of other pools do not count.
    pub cpus: CpuSet,
    /// The pool it belongs to.
    pub pool: PoolId,
}

impl Default for Parameters {
    /// Xen's: weight 256, no cap, anywhere in Pool-0.
    fn default() -> Self {
        Self { weight: 256, cap: 0, cpus: CpuSet::ANY, pool: PoolId::ZERO }
    }
}

/// Why a request was refused. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The weight is 0.
    Weight,
    /// There is no such pool.
    NoPool,
    /// No processor is left to run on: the affinity has none of the pool's, a pool would have none, or the
    /// processors that are given away are all taken.
    NoCpu,
    /// There is no such domain, or it is the hypervisor's own.
    NoDomain,
    /// It is there already.
    Exists,
    /// The pool has domains in it, or is Pool-0.
    Busy,
}

/// What a processor does next.
#[must_use = "it must be acted upon"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Whom it runs, [`VcpuKey::WORKER`] for housekeeping; none: it idles.
    pub vcpu: Option<VcpuKey>,
    /// When it must ask again at the latest; none: not before it is told to, or the vcpu sleeps.
    pub until: Option<u64>,
    /// Other processors that must look again.
    pub look: CpuSet,
}

/// What the scheduler is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Longest turn while others wait, in nanoseconds.
    slice: u64,
    /// A vcpu that has run for less, in nanoseconds, does not give way to one that wakes.
    ratelimit: u64,
}

impl Settings {
    /// From Xen's options: `sched_credit_tslice_ms` (1 to 1000) and `sched_ratelimit_us` (100 to 500000). None when
    /// they are out of range. Xen also takes a rate limit of 0, for none; here it would let two vcpus that
    /// wake each other do nothing but switch.
    pub const fn new(tslice_ms: u32, ratelimit_us: u32) -> Option<Self> {
        if tslice_ms < 1 || tslice_ms > 1000 || ratelimit_us < 100 || ratelimit_us > 500_000 {
            return None;
        }
        Some(Self { slice: tslice_ms as u64 * MS, ratelimit: ratelimit_us as u64 * 1000 })
    }
}

impl Default for Settings {
    /// Xen's: slices of 30 ms, a rate limit of 1 ms.
    fn default() -> Self {
        Self { slice: 30 * MS, ratelimit: MS }
    }
}

/// Where a vcpu stands in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    member: usize,
    unit: usize,
}

/// One processor.
#[derive(Clone, Debug, Default)]
struct Cpu {
    pool: PoolId,
    /// Whom it runs: from the pick that said so to the next.
    current: Option<Slot>,
    /// Since when.
    since: u64,
    /// The end of the vcpu's turn; past it when nobody else waits.
    turn_end: u64,
    /// Up to when the vcpu's time was counted.
    charged: u64,
    /// What the last pick answered.
    until: Option<u64>,
    /// It was told to look again and has not.
    told: bool,
    /// Its vcpu gives way to any other at the next pick.
    yielded: bool,
    /// Its vcpu runs because it was overdue.
    overdue: bool,
}

/// The scheduler of all processors.
#[derive(Clone, Debug)]
pub struct Scheduler {
    settings: Settings,
    /// The latest time heard of.
    now: u64,
    cpus: Vec<Cpu>,
    pools: Vec<Pool>,
    members: Vec<Option<Member>>,
}

impl Scheduler {
    /// A scheduler of `cpus` processors (1 to [`MAX_CPUS`]), all in Pool-0, with nothing to run.
    pub fn new(cpus: usize, settings: Settings) -> Self {
        let cpus = cpus.clamp(1, MAX_CPUS);
        let parameters = Parameters::default();
        let mut worker = Member::new(VcpuKey::WORKER.domain, &parameters, 0);
        worker.units.push(Some(Unit::default()));
        Self {
            settings,
            now: 0,
            cpus: alloc::vec![Cpu::default(); cpus],
            pools: Vec::from([Pool::new(PoolId::ZERO, PoolPolicy::Credit, CpuSet::first_of(cpus))]),
            members: Vec::from([Some(worker)]),
        }
    }

    /// How many processors there are.
    pub fn cpus(&self) -> usize {
        self.cpus.len()
    }

    /// Adds a domain without vcpus.
    pub fn add_domain(&mut self, id: DomainId, parameters: &Parameters, now: u64) -> Result<(), Error> {
        if self.member_index(id).is_some() {
            return Err(Error::Exists);
        }
        self.check(parameters)?;
        let member = Some(Member::new(id, parameters, self.clock(now)));
        match self.members.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = member,
            None => self.members.push(member),
        }
        Ok(())
    }

    /// Forgets a domain and its vcpus. Whatever processors still run one must look again before the vcpu's state may
    /// go; to be sure of that, [`Self::pause`] first and wait until [`Self::running_on`] names none.
    pub fn remove_domain(&mut self, id: DomainId, now: u64) -> Result<CpuSet, Error> {
        let member = self.guest_index(id)?;
        let units = self.members[member].as_ref().map_or(0, |member| member.units.len());
        let mut look = CpuSet::EMPTY;
        for vcpu in 0..units {
            look = look.or(self.remove_vcpu(VcpuKey { domain: id, vcpu: vcpu as u32 }, now));
        }
        self.members[member] = None;
        Ok(look)
    }

    /// Gives a domain other parameters, possibly another pool. Returns who must look again.
    pub fn set_parameters(
        &mut self,
        id: DomainId,
        parameters: &Parameters,
        now: u64,
    ) -> Result<CpuSet, Error> {
        let index = self.guest_index(id)?;
        self.check(parameters)?;
        let grants = self.grants(index, parameters)?;
        let now = self.clock(now);
        let mut look = CpuSet::EMPTY;
        let old_pool = self.members[index].as_ref().map_or(PoolId::ZERO, |member| member.pool);
        self.settle(old_pool, now, &mut look);
        self.settle(parameters.pool, now, &mut look);
        let Some(member) = &mut self.members[index] else { return Err(Error::NoDomain) };
        member.set(parameters, now);
        self.grant(index, grants);
        self.tell_runners(index, &mut look);
        self.rebase(index, true);
        self.offer_fresh(&mut look);
        Ok(look)
    }

    /// A domain's parameters.
    pub fn parameters(&self, id: DomainId) -> Option<Parameters> {
        let member = self.members[self.member_index(id)?].as_ref()?;
        let (weight, cap) = (member.weight as u16, member.cap as u16);
        Some(Parameters { weight, cap, cpus: member.cpus, pool: member.pool })
    }

    /// Adds a vcpu, asleep. In a pool of the null policy it gets a processor of its own here, or is refused.
    pub fn add_vcpu(&mut self, key: VcpuKey, now: u64) -> Result<(), Error> {
        let index = self.guest_index(key.domain)?;
        let _ = self.clock(now);
        let own = self.free_own(index)?;
        let Some(member) = &mut self.members[index] else { return Err(Error::NoDomain) };
        let at = key.vcpu as usize;
        if member.unit(at).is_some() {
            return Err(Error::Exists);
        }
        if member.units.len() <= at {
            member.units.resize(at + 1, None);
        }
        member.units[at] = Some(Unit { own, ..Unit::default() });
        Ok(())
    }

    /// Forgets a vcpu. Returns the processor that runs it, if one does: it must look again before the vcpu's state
    /// may go.
    pub fn remove_vcpu(&mut self, key: VcpuKey, now: u64) -> CpuSet {
        let now = self.clock(now);
        let mut look = CpuSet::EMPTY;
        let Some(slot) = self.slot(key).filter(|_| key.domain != VcpuKey::WORKER.domain) else { return look };
        if let Some(cpu) = self.unit(slot).and_then(|unit| unit.running) {
            self.charge(cpu, now);
            self.cpus[cpu].current = None;
            self.tell(cpu, &mut look);
        }
        if let Some(member) = &mut self.members[slot.member] {
            member.units[slot.unit] = None;
        }
        look
    }

    /// The processor that runs a vcpu, from the pick that said so to that processor's next.
    pub fn running_on(&self, key: VcpuKey) -> Option<usize> {
        self.unit(self.slot(key)?)?.running
    }

    /// The processor that ran a vcpu last, or runs it.
    pub fn last_cpu(&self, key: VcpuKey) -> Option<usize> {
        let unit = self.unit(self.slot(key)?)?;
        unit.running.or(unit.last)
    }

    /// How long a vcpu has run, in nanoseconds, up to the last time anybody in its pool looked.
    pub fn vcpu_time(&self, key: VcpuKey) -> Option<u64> {
        Some(self.unit(self.slot(key)?)?.used)
    }

    /// How long a domain's vcpus have run, in nanoseconds, those that are gone included.
    pub fn domain_time(&self, id: DomainId) -> Option<u64> {
        Some(self.members[self.member_index(id)?].as_ref()?.used)
    }

    /// The time that counts: never earlier than what was heard before.
    fn clock(&mut self, now: u64) -> u64 {
        self.now = self.now.max(now);
        self.now
    }

    fn member_index(&self, id: DomainId) -> Option<usize> {
        self.members.iter().position(|member| member.as_ref().is_some_and(|member| member.id == id))
    }

    fn guest_index(&self, id: DomainId) -> Result<usize, Error> {
        let index = self.member_index(id).filter(|_| id != VcpuKey::WORKER.domain);
        index.ok_or(Error::NoDomain)
    }

    fn slot(&self, key: VcpuKey) -> Option<Slot> {
        let slot = Slot { member: self.member_index(key.domain)?, unit: key.vcpu as usize };
        self.unit(slot).map(|_| slot)
    }

    fn member(&self, index: usize) -> Option<&Member> {
        self.members.get(index)?.as_ref()
    }

    fn unit(&self, slot: Slot) -> Option<&Unit> {
        self.member(slot.member)?.unit(slot.unit)
    }

    fn unit_mut(&mut self, slot: Slot) -> Option<&mut Unit> {
        self.members.get_mut(slot.member)?.as_mut()?.unit_mut(slot.unit)
    }

    fn key(&self, slot: Slot) -> Option<VcpuKey> {
        Some(VcpuKey { domain: self.member(slot.member)?.id, vcpu: slot.unit as u32 })
    }

    /// The members of a pool, with their indexes.
    fn members_of(&self, pool: PoolId) -> impl Iterator<Item = (usize, &Member)> {
        let present = self.members.iter().enumerate();
        let present = present.filter_map(|(index, member)| Some((index, member.as_ref()?)));
        present.filter(move |(_, member)| member.pool == pool)
    }

    /// Counts the running vcpu's time on one processor.
    fn charge(&mut self, cpu: usize, now: u64) {
        let Some(cpu) = self.cpus.get_mut(cpu) else { return };
        let passed = now.saturating_sub(cpu.charged);
        cpu.charged = now;
        if let Some(slot) = cpu.current
            && let Some(member) = &mut self.members[slot.member]
        {
            member.charge(slot.unit, passed);
        }
    }

    /// Brings a pool up to date: counts all time run, fills the caps' buckets, stops domains that have used theirs up.
    fn settle(&mut self, pool: PoolId, now: u64, look: &mut CpuSet) {
        for cpu in self.pool_cpus(pool).iter() {
            self.charge(cpu, now);
        }
        let mut heaviest = 1;
        let capping = self.policy(pool) == PoolPolicy::Credit;
        for index in 0..self.members.len() {
            let Some(member) = self.members[index].as_mut().filter(|member| member.pool == pool) else {
                continue;
            };
            if member.cap != 0 && member.refill(now, capping) {
                self.tell_runners(index, look);
            }
            if let Some(member) = self.member(index)
                && member.weight > heaviest
                && member.active()
            {
                heaviest = member.weight;
            }
        }
        if let Some(pool) = self.pool_mut(pool) {
            pool.heaviest = heaviest;
        }
    }

    /// Tells a processor to look again.
    fn tell(&mut self, cpu: usize, look: &mut CpuSet) {
        self.cpus[cpu].told = true;
        look.insert(cpu);
    }

    /// Tells every processor that runs one of a domain's vcpus.
    fn tell_runners(&mut self, index: usize, look: &mut CpuSet) {
        for cpu in 0..self.cpus.len() {
            if self.cpus[cpu].current.is_some_and(|slot| slot.member == index) {
                self.tell(cpu, look);
            }
        }
    }
}
