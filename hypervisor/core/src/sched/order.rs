//! Who comes before whom.

use super::account::SCALE;
use super::{CpuSet, MIN_TURN_NS, OVERDUE_NS, Scheduler, Slot};

/// The vcpus that wait for a processor, seen from it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Queue {
    /// Lowest place.
    pub best: Option<Slot>,
    /// Lowest place among those that have just woken.
    pub boosted: Option<Slot>,
    /// Has waited longest of all, and too long.
    pub overdue: Option<Slot>,
}

impl Scheduler {
    /// How long the vcpu `ahead` has run beyond `behind`, by what each is worth, in its own time; negative when it
    /// comes first.
    fn lead(&self, ahead: Slot, behind: Slot) -> i128 {
        let (Some(a), Some(b)) = (self.member(ahead.member), self.member(behind.member)) else { return 0 };
        if ahead.member != behind.member {
            return a.time_between(a.place, b.place);
        }
        let place = |slot: Slot| a.unit(slot.unit).map_or(0, |unit| i128::from(unit.place));
        place(ahead) - place(behind)
    }

    /// The turn of a vcpu's domain.
    pub(super) fn turn(&self, slot: Slot) -> u64 {
        let Some(member) = self.member(slot.member) else { return MIN_TURN_NS };
        let heaviest = self.pool(member.pool).map_or(1, |pool| pool.heaviest);
        member.turn(self.settings.slice, heaviest)
    }

    /// Whether `other` is to be picked before `slot`.
    fn before(&self, other: Slot, slot: Slot, cpu: usize) -> bool {
        let key = |slot: Slot| {
            let unit = self.unit(slot);
            // Between equals the one that ran here before comes first, and a little before even a better one: a move
            // costs more than that.
            let moves = unit.and_then(|unit| unit.last).is_some_and(|last| last != cpu);
            let place = unit.map_or(0, |unit| unit.place + if moves { MIN_TURN_NS } else { 0 });
            (self.member(slot.member).map_or(0, |member| member.place), place, unit.map_or(0, |u| u.since))
        };
        match other.member == slot.member {
            true => key(other) < key(slot),
            // Places of vcpus count within a domain only; between domains in the same place, who waits longer.
            false => (key(other).0, key(other).2) < (key(slot).0, key(slot).2),
        }
    }

    /// Where a domain may run: the processors of its pool in its affinity.
    pub(super) fn allowed(&self, index: usize) -> CpuSet {
        self.member(index).map_or(CpuSet::EMPTY, |member| member.cpus.and(self.pool_cpus(member.pool)))
    }

    /// Everybody who waits for `cpu`.
    pub(super) fn waiting_for(&self, cpu: usize) -> impl Iterator<Item = Slot> {
        let members = self.members_of(self.cpus[cpu].pool).filter(move |(_, m)| m.cpus.contains(cpu));
        members.flat_map(|(member, m)| m.waiting().map(move |(unit, _)| Slot { member, unit }))
    }

    pub(super) fn queue(&self, cpu: usize) -> Queue {
        let mut queue = Queue::default();
        let (mut oldest, mut count) = (None, 0);
        for slot in self.waiting_for(cpu) {
            let Some(unit) = self.unit(slot) else { continue };
            count += 1;
            if queue.best.is_none_or(|best| self.before(slot, best, cpu)) {
                queue.best = Some(slot);
            }
            if unit.boost > 0 && queue.boosted.is_none_or(|best| self.before(slot, best, cpu)) {
                queue.boosted = Some(slot);
            }
            if oldest.is_none_or(|(since, _)| unit.since < since) {
                oldest = Some((unit.since, slot));
            }
        }
        // When many wait, everybody waits long and it is nobody's fault.
        let patience = OVERDUE_NS + count * self.settings.slice;
        queue.overdue = oldest.filter(|(since, _)| since + patience <= self.now).map(|(_, slot)| slot);
        queue
    }

    /// When the waiting, boosted vcpu may take the processor of one that runs, within the latter's turn. It may take it
    /// from one that has long been running even if its domain is ahead by less than a turn, so that a domain
    /// which uses its share still hears its interrupts; from one that has just woken itself only if it is behind.
    pub(super) fn preempts_at(&self, waiting: Slot, cpu: usize) -> u64 {
        let this = &self.cpus[cpu];
        let Some(running) = this.current else { return self.now };
        let lead = self.lead(running, waiting);
        // Within a domain the weight of others does not matter, and running brings the lead at the same rate.
        let after = |lead: i128| match lead {
            1.. => self.now,
            _ => self.now.saturating_add(u64::try_from(1 - lead).unwrap_or(u64::MAX)),
        };
        let strict = after(lead);
        let loose = after(lead + i128::from(self.turn(running)));
        let boost = self.unit(running).map_or(0, |unit| unit.boost);
        let at = if boost == 0 { loose } else { strict.min(loose.max(self.now + boost)) };
        at.max(this.since + self.settings.ratelimit)
    }

    /// Whether `challenger` goes before the vcpu that runs, now that its turn is over.
    pub(super) fn succeeds(&self, challenger: Slot, running: Slot) -> bool {
        self.lead(running, challenger) >= 0
    }

    /// Whether a boosted vcpu goes before one that is not and has the lower place.
    pub(super) fn jumps(&self, boosted: Slot, best: Slot) -> bool {
        self.lead(best, boosted) + i128::from(self.turn(best)) > 0
    }

    /// The place of those a domain competes with: on each of its processors the lowest place that waits for it, or else
    /// the place of what runs there; and of these the furthest ahead. (Behind the others elsewhere it would take
    /// that processor for as long as it took to catch up.) With it the least weight standing there.
    fn reference(&self, index: usize) -> Option<(u128, u64)> {
        let mut left = self.allowed(index);
        let mut found: Option<(u128, u64)> = None;
        let pool = self.member(index)?.pool;
        while !left.is_empty() {
            let others = self.members_of(pool).filter(|(other, member)| {
                *other != index && !member.cpus.and(left).is_empty() && member.waiting().next().is_some()
            });
            let Some((_, lowest)) = others.min_by_key(|(_, member)| member.place) else { break };
            found = Some((lowest.place, lowest.weight));
            left = left.without(lowest.cpus);
        }
        for cpu in left.iter() {
            let running = self.cpus[cpu].current.filter(|slot| slot.member != index);
            if let Some(member) = running.and_then(|slot| self.member(slot.member))
                && found.is_none_or(|(place, _)| place < member.place)
            {
                found = Some((member.place, member.weight));
            }
        }
        found
    }

    /// Corrects a domain's place: not further behind those it competes with than a turn or two on each processor, so
    /// that what it could not or would not use is not saved up; nor further ahead when `both`.
    pub(super) fn rebase(&mut self, index: usize, both: bool) {
        let Some((place, weight)) = self.reference(index) else { return };
        let cpus = self.allowed(index).len() as u128 + 1;
        let slice = u128::from(self.settings.slice);
        let Some(member) = &mut self.members[index] else { return };
        let own = slice / u128::from(member.weight).max(1);
        // One turn of a light domain's may be worth many of a heavy one's.
        let others = u128::from(MIN_TURN_NS) / u128::from(weight).max(1);
        let bound = cpus * SCALE * (own.max(others) + 1);
        member.place = member.place.max(place.saturating_sub(bound));
        if both {
            member.place = member.place.min(place + bound);
        }
    }
}
