//! A domain's share of the processors: its place in the scheduler, and a pool of its own if it is to have processors
//! for itself.

use crate::addr::DomainId;
use crate::build::DomainConfig;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;
use crate::sched::{CpuSet, Error, Parameters, PoolId, PoolPolicy, VcpuKey};

impl<M: Machine> Hypervisor<M> {
    /// Gives a new domain its share, with all its vcpus, asleep.
    pub(crate) fn give_share(&mut self, id: DomainId, config: &DomainConfig) -> Result<(), Error> {
        let (share, now) = (&config.share, self.now());
        let cpus = CpuSet::from_bits(share.cpus);
        let mut pool = PoolId::ZERO;
        if share.exclusive {
            let present = cpus.and(CpuSet::first_of(self.sched.cpus()));
            let (own, look) = self.sched.create_pool(present, PoolPolicy::Null)?;
            self.look_again(look);
            pool = own;
        }
        let cap = share.cap as u16;
        let parameters = Parameters { weight: share.weight, cap, cpus, pool };
        let added = self.sched.add_domain(id, &parameters, now).and_then(|()| {
            (0..config.vcpus).try_for_each(|vcpu| self.sched.add_vcpu(VcpuKey { domain: id, vcpu }, now))
        });
        if added.is_err() {
            self.forget_share(id, now);
            self.close_pool(pool);
        }
        added
    }

    /// Takes a domain out of the scheduler.
    pub(crate) fn forget_share(&mut self, id: DomainId, now: u64) {
        let pool = self.sched.parameters(id).map_or(PoolId::ZERO, |parameters| parameters.pool);
        if let Ok(look) = self.sched.remove_domain(id, now) {
            self.look_again(look);
        }
        self.close_pool(pool);
    }

    /// Gives a domain's own processors back.
    fn close_pool(&mut self, pool: PoolId) {
        if pool != PoolId::ZERO
            && let Ok(look) = self.sched.destroy_pool(pool)
        {
            self.look_again(look);
        }
    }
}
