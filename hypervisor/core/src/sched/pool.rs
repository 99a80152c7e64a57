//! Pools: partitions of the processors. Each processor is in exactly one, each domain too.

use alloc::vec::Vec;

use super::{CpuSet, Error, Parameters, Scheduler};

/// A pool's number, as Xen's cpupools have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(u32);

impl PoolId {
    /// Pool-0: where all processors are at first, and the hypervisor's own work always.
    pub const ZERO: Self = Self(0);

    /// Its number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// How a pool shares out its processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolPolicy {
    /// Time-sliced by weights and caps.
    Credit,
    /// Every vcpu has a processor of its own for good; weights and caps mean nothing.
    Null,
}

#[derive(Clone, Debug)]
pub(super) struct Pool {
    id: PoolId,
    pub policy: PoolPolicy,
    pub cpus: CpuSet,
    /// The greatest weight of the domains that want to run.
    pub heaviest: u64,
}

impl Pool {
    pub fn new(id: PoolId, policy: PoolPolicy, cpus: CpuSet) -> Self {
        Self { id, policy, cpus, heaviest: 1 }
    }
}

impl Scheduler {
    /// Makes a pool of processors taken from Pool-0. Returns its number, and which of them must look again. Refused
    /// when they are not all there to be taken, or when Pool-0 or one of its domains would be left without any.
    pub fn create_pool(&mut self, cpus: CpuSet, policy: PoolPolicy) -> Result<(PoolId, CpuSet), Error> {
        let rest = self.pool_cpus(PoolId::ZERO).without(cpus);
        if cpus.is_empty() || rest.is_empty() || !self.pool_cpus(PoolId::ZERO).contains_all(cpus) {
            return Err(Error::NoCpu);
        }
        if self.members_of(PoolId::ZERO).any(|(_, member)| member.cpus.and(rest).is_empty()) {
            return Err(Error::NoCpu);
        }
        let taken = |id: &u32| self.pools.iter().any(|pool| pool.id.0 == *id);
        let id = PoolId((1..).find(|id| !taken(id)).unwrap_or(u32::MAX));
        self.pools.push(Pool::new(id, policy, cpus));
        Ok((id, self.move_cpus(cpus, id)))
    }

    /// Gives a pool's processors back to Pool-0. Returns who must look again.
    pub fn destroy_pool(&mut self, id: PoolId) -> Result<CpuSet, Error> {
        let at = self.pools.iter().position(|pool| pool.id == id).ok_or(Error::NoPool)?;
        if id == PoolId::ZERO || self.members_of(id).next().is_some() {
            return Err(Error::Busy);
        }
        let pool = self.pools.swap_remove(at);
        Ok(self.move_cpus(pool.cpus, PoolId::ZERO))
    }

    /// A pool's processors; none when there is no such pool.
    pub fn pool_cpus(&self, id: PoolId) -> CpuSet {
        self.pool(id).map_or(CpuSet::EMPTY, |pool| pool.cpus)
    }

    pub(super) fn pool(&self, id: PoolId) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.id == id)
    }

    pub(super) fn pool_mut(&mut self, id: PoolId) -> Option<&mut Pool> {
        self.pools.iter_mut().find(|pool| pool.id == id)
    }

    pub(super) fn policy(&self, id: PoolId) -> PoolPolicy {
        self.pool(id).map_or(PoolPolicy::Credit, |pool| pool.policy)
    }

    /// The processors of Pool-0 on one side of the move, those of `to` on the other. All of them look again: what
    /// runs there may have to leave, what waits may find more room.
    fn move_cpus(&mut self, cpus: CpuSet, to: PoolId) -> CpuSet {
        let mut look = CpuSet::EMPTY;
        if let Some(zero) = self.pool_mut(PoolId::ZERO) {
            zero.cpus = if to == PoolId::ZERO { zero.cpus.or(cpus) } else { zero.cpus.without(cpus) };
        }
        for cpu in cpus.iter() {
            self.charge(cpu, self.now);
            self.cpus[cpu].pool = to;
            self.tell(cpu, &mut look);
        }
        look
    }

    /// Whether a domain can have these parameters.
    pub(super) fn check(&self, parameters: &Parameters) -> Result<(), Error> {
        if parameters.weight == 0 {
            return Err(Error::Weight);
        }
        let pool = self.pool(parameters.pool).ok_or(Error::NoPool)?;
        if parameters.cpus.and(pool.cpus).is_empty() { Err(Error::NoCpu) } else { Ok(()) }
    }

    /// The processors of a null pool that are nobody's, but for those of the member `except`.
    fn unowned(&self, pool: PoolId, except: usize) -> CpuSet {
        let others = self.members_of(pool).filter(|(index, _)| *index != except);
        let owned = others.flat_map(|(_, member)| member.units.iter().flatten());
        self.pool_cpus(pool).without(owned.filter_map(|unit| unit.own).collect())
    }

    /// A processor for one more vcpu of a domain's, when its pool gives them away.
    pub(super) fn free_own(&self, index: usize) -> Result<Option<usize>, Error> {
        let Some(member) = self.member(index) else { return Err(Error::NoDomain) };
        if self.policy(member.pool) != PoolPolicy::Null {
            return Ok(None);
        }
        let own = member.units.iter().flatten().filter_map(|unit| unit.own).collect();
        let free = self.unowned(member.pool, index).without(own).and(member.cpus);
        free.first().map(Some).ok_or(Error::NoCpu)
    }

    /// A processor for each of a domain's vcpus, when the pool it is to be in gives them away.
    pub(super) fn grants(&self, index: usize, parameters: &Parameters) -> Result<Vec<Option<usize>>, Error> {
        let Some(member) = self.member(index) else { return Err(Error::NoDomain) };
        if self.policy(parameters.pool) != PoolPolicy::Null {
            return Ok(Vec::new());
        }
        let allowed = self.unowned(parameters.pool, index).and(parameters.cpus);
        let kept =
            |own: Option<usize>| own.filter(|cpu| member.pool == parameters.pool && allowed.contains(*cpu));
        let mut free = allowed.without(member.units.iter().flatten().filter_map(|u| kept(u.own)).collect());
        let mut grants = Vec::with_capacity(member.units.len());
        for unit in &member.units {
            let grant = match unit {
                Some(unit) => Some(kept(unit.own).or(free.first()).ok_or(Error::NoCpu)?),
                None => None,
            };
            if let Some(cpu) = grant {
                free.remove(cpu);
            }
            grants.push(grant);
        }
        Ok(grants)
    }

    pub(super) fn grant(&mut self, index: usize, grants: Vec<Option<usize>>) {
        let Some(member) = &mut self.members[index] else { return };
        for (at, unit) in member.units.iter_mut().enumerate() {
            if let Some(unit) = unit {
                unit.own = grants.get(at).copied().flatten();
            }
        }
    }
}
