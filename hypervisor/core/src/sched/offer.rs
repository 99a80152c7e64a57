//! A vcpu that may run: which processor is to hear of it.

use super::{BOOST_NS, CpuSet, PoolPolicy, Scheduler, Slot, VcpuKey};
use crate::addr::DomainId;

impl Scheduler {
    /// A vcpu wants to run. Returns who must look again; usually none or one. A vcpu that is awake, or is not there,
    /// changes nothing.
    pub fn wake(&mut self, key: VcpuKey, now: u64) -> CpuSet {
        let now = self.clock(now);
        let mut look = CpuSet::EMPTY;
        let Some(slot) = self.slot(key) else { return look };
        if self.unit(slot).is_none_or(|unit| unit.awake) {
            return look;
        }
        let Some(member) = self.member(slot.member) else { return look };
        let (pool, was_active) = (member.pool, member.active());
        self.settle(pool, now, &mut look);
        if !was_active {
            self.rebase(slot.member, true);
        }
        let bound = 2 * self.settings.slice;
        if let Some(member) = &mut self.members[slot.member] {
            member.place_unit(slot.unit, bound);
        }
        let Some(unit) = self.unit_mut(slot) else { return look };
        unit.awake = true;
        if unit.running.is_none() {
            unit.since = now;
            unit.boost = BOOST_NS;
            self.offer(slot, &mut look);
        }
        self.offer_fresh(&mut look);
        look
    }

    /// A vcpu no longer wants to run. Returns the processor that runs it, which must look again: until it has, it
    /// counts as running the vcpu.
    pub fn sleep(&mut self, key: VcpuKey, now: u64) -> CpuSet {
        self.clock(now);
        let mut look = CpuSet::EMPTY;
        if let Some(slot) = self.slot(key)
            && let Some(unit) = self.unit_mut(slot)
        {
            unit.awake = false;
            if let Some(cpu) = unit.running {
                self.tell(cpu, &mut look);
            }
        }
        look
    }

    /// A running vcpu lets everybody else who waits go first, once. Its processor must look again; nothing happens
    /// when it does not run.
    pub fn yield_now(&mut self, key: VcpuKey) -> CpuSet {
        let mut look = CpuSet::EMPTY;
        if let Some(cpu) = self.running_on(key) {
            self.cpus[cpu].yielded = true;
            self.tell(cpu, &mut look);
        }
        look
    }

    /// Keeps a domain's vcpus from running until it was unpaused as often. Returns the processors that run one: each
    /// must look again, and has left it when [`Self::running_on`] says so.
    pub fn pause(&mut self, id: DomainId) -> Result<CpuSet, super::Error> {
        let index = self.guest_index(id)?;
        let mut look = CpuSet::EMPTY;
        if let Some(member) = &mut self.members[index] {
            member.pauses = member.pauses.saturating_add(1);
        }
        self.tell_runners(index, &mut look);
        Ok(look)
    }

    /// Takes back one [`Self::pause`]. Returns who must look again.
    pub fn unpause(&mut self, id: DomainId, now: u64) -> Result<CpuSet, super::Error> {
        let index = self.guest_index(id)?;
        let now = self.clock(now);
        let mut look = CpuSet::EMPTY;
        let Some(member) = &mut self.members[index] else { return Err(super::Error::NoDomain) };
        if member.pauses == 1 {
            member.fresh = true;
            // It has not been waiting for a processor but for this. (With a cap it has been waiting for both.)
            member.units.iter_mut().flatten().for_each(|unit| unit.since = now);
        }
        member.pauses = member.pauses.saturating_sub(1);
        let pool = member.pool;
        self.settle(pool, now, &mut look);
        self.rebase(index, true);
        self.offer_fresh(&mut look);
        Ok(look)
    }

    /// Offers the vcpus of every domain that has just become eligible.
    pub(super) fn offer_fresh(&mut self, look: &mut CpuSet) {
        for member in 0..self.members.len() {
            let Some(this) = self.members[member].as_mut().filter(|m| m.fresh && m.ready()) else { continue };
            this.fresh = false;
            for unit in 0..this.units.len() {
                let slot = Slot { member, unit };
                if let Some(unit) = self.unit_mut(slot).filter(|unit| unit.waits()) {
                    unit.boost = BOOST_NS;
                    self.offer(slot, look);
                }
            }
        }
    }

    /// Finds a processor for a vcpu that waits: an idle one, or the one it may preempt soonest. Where turns had no end
    /// since nobody waited, they have one now.
    pub(super) fn offer(&mut self, slot: Slot, look: &mut CpuSet) {
        let Some(member) = self.member(slot.member).filter(|member| member.ready()) else { return };
        let Some(unit) = member.unit(slot.unit).filter(|unit| unit.waits()) else { return };
        if self.policy(member.pool) == PoolPolicy::Null {
            if let Some(cpu) = unit.own {
                self.tell(cpu, look);
            }
            return;
        }
        let (last, boosted) = (unit.last, unit.boost > 0);
        let allowed = self.allowed(slot.member);
        let idle = |cpu: &usize| self.cpus[*cpu].current.is_none() && !self.cpus[*cpu].told;
        let last = last.filter(|cpu| allowed.contains(*cpu) && idle(cpu));
        if let Some(cpu) = last.or_else(|| allowed.iter().find(idle)) {
            return self.tell(cpu, look);
        }
        if let Some(cpu) = allowed.iter().find(|cpu| self.could_move(*cpu)) {
            self.cpus[cpu].yielded = true;
            return self.tell(cpu, look);
        }
        let mut soonest: Option<(u64, usize)> = None;
        for cpu in allowed.iter().filter(|cpu| !self.cpus[*cpu].told) {
            let turn_end = self.cpus[cpu].turn_end;
            let at = if boosted { self.preempts_at(slot, cpu).min(turn_end) } else { turn_end };
            if soonest.is_none_or(|(time, _)| at < time) {
                soonest = Some((at, cpu));
            }
        }
        if let Some((at, cpu)) = soonest
            && self.cpus[cpu].until.is_none_or(|until| until > at)
        {
            self.tell(cpu, look);
        }
        for cpu in allowed.iter() {
            if self.cpus[cpu].until.is_none() && !self.cpus[cpu].told {
                self.tell(cpu, look);
            }
        }
    }

    /// Whether what runs on a processor could run on an idle one instead.
    fn could_move(&self, cpu: usize) -> bool {
        let this = &self.cpus[cpu];
        let allowed = this.current.map_or(CpuSet::EMPTY, |slot| self.allowed(slot.member));
        allowed.iter().any(|cpu| self.cpus[cpu].current.is_none() && !self.cpus[cpu].told)
    }

    /// After a pick: finds places for those who still wait for this processor, if there is one that idles or whose turn
    /// has no end; and if this one idles, somebody who could come here from where others wait.
    pub(super) fn spread(&mut self, cpu: usize, look: &mut CpuSet) {
        let pool = self.cpus[cpu].pool;
        if self.policy(pool) == PoolPolicy::Null {
            return;
        }
        if self.cpus[cpu].current.is_none() {
            return self.pull(cpu, look);
        }
        let free = |other: usize| {
            let other = &self.cpus[other];
            !other.told && (other.current.is_none() || other.until.is_none())
        };
        if !self.pool_cpus(pool).iter().any(free) {
            return;
        }
        for member in 0..self.members.len() {
            let units = self.members[member].as_ref().map_or(0, |m| m.units.len());
            if self.member(member).is_some_and(|m| m.pool == pool && m.cpus.contains(cpu)) {
                (0..units).for_each(|unit| self.offer(Slot { member, unit }, look));
            }
        }
    }

    /// An idle processor that can run nobody who waits looks for somebody who runs elsewhere and could come here, to
    /// make room for one who waits there.
    fn pull(&mut self, cpu: usize, look: &mut CpuSet) {
        let pool = self.cpus[cpu].pool;
        let waiting = self.members_of(pool).filter(|(_, member)| member.waiting().next().is_some());
        let wanted = waiting.fold(CpuSet::EMPTY, |all, (_, member)| all.or(member.cpus));
        let comes = |other: &usize| {
            self.cpus[*other].current.is_some_and(|slot| self.allowed(slot.member).contains(cpu))
        };
        if let Some(other) = self.pool_cpus(pool).and(wanted).iter().find(comes) {
            self.cpus[other].yielded = true;
            self.tell(other, look);
        }
    }
}
