//! What a processor runs next.

use super::order::Queue;
use super::{CpuSet, MIN_TURN_NS, Pick, PoolPolicy, Scheduler, Slot};

/// What was chosen.
enum Choice {
    /// The vcpu goes on in its turn.
    Stay,
    /// A new turn, of the same vcpu or another.
    Turn(Slot),
    /// A turn, no longer than its boost, of one that goes before others of lower place.
    Jump(Slot),
    /// A short turn of a vcpu that has waited too long.
    Overdue(Slot),
    /// Nobody.
    Idle,
}

impl Scheduler {
    /// Whom `cpu` runs from now on (it may be the same as before), and when it must ask again. To be called when it
    /// was told to look again, when its vcpu sleeps or yields, and at the time the last call named; more often does no
    /// harm. Allocates nothing, and takes time in proportion to the vcpus of the pool.
    ///
    /// # Panics
    /// If there is no such processor.
    pub fn pick(&mut self, cpu: usize, now: u64) -> Pick {
        let now = self.clock(now);
        let mut look = CpuSet::EMPTY;
        let pool = self.cpus[cpu].pool;
        // So that what is offered meanwhile does not go elsewhere first.
        self.cpus[cpu].told = true;
        self.charge(cpu, now);
        self.settle(pool, now, &mut look);
        // Twice when what was chosen could run on an idle processor and somebody waits who cannot.
        for _ in 0..2 {
            let left = match self.policy(pool) {
                PoolPolicy::Null => self.run(cpu, self.owner(cpu), 0),
                PoolPolicy::Credit => self.step(cpu),
            };
            self.cpus[cpu].yielded = false;
            if let Some(slot) = left {
                self.offer(slot, &mut look);
            }
            self.offer_fresh(&mut look);
            self.spread(cpu, &mut look);
            if !self.cpus[cpu].yielded {
                break;
            }
        }
        self.cpus[cpu].yielded = false;
        self.cpus[cpu].until = self.horizon(cpu);
        self.cpus[cpu].told = false;
        look.remove(cpu);
        let this = &self.cpus[cpu];
        Pick { vcpu: this.current.and_then(|slot| self.key(slot)), until: this.until, look }
    }

    /// Chooses and switches. Returns the vcpu that was left and still wants to run.
    fn step(&mut self, cpu: usize) -> Option<Slot> {
        let choice = self.choose(cpu);
        self.cpus[cpu].overdue = matches!(choice, Choice::Overdue(_));
        match choice {
            Choice::Stay => None,
            Choice::Idle => self.run(cpu, None, 0),
            Choice::Turn(slot) => {
                self.rebase(slot.member, false);
                self.run(cpu, Some(slot), self.turn(slot))
            }
            Choice::Jump(slot) => {
                let boost = self.unit(slot).map_or(0, |unit| unit.boost);
                self.run(cpu, Some(slot), self.turn(slot).min(boost).max(MIN_TURN_NS))
            }
            Choice::Overdue(slot) => self.run(cpu, Some(slot), MIN_TURN_NS),
        }
    }

    fn choose(&self, cpu: usize) -> Choice {
        let this = &self.cpus[cpu];
        let staying = this.current.filter(|slot| self.may_stay(*slot, cpu));
        if staying.is_some() && !this.yielded {
            if self.now < this.since + self.settings.ratelimit {
                return Choice::Stay;
            }
            if self.now < this.turn_end {
                let queue = self.queue(cpu);
                return match queue.boosted {
                    Some(boosted) if self.preempts_at(boosted, cpu) <= self.now => self.first(&queue),
                    _ => Choice::Stay,
                };
            }
        }
        let queue = self.queue(cpu);
        // Every second turn at most, or many of them would undo the weights.
        if let Some(overdue) = queue.overdue.filter(|_| !this.overdue) {
            return Choice::Overdue(overdue);
        }
        match (self.first(&queue), staying) {
            (Choice::Turn(next) | Choice::Jump(next), Some(running))
                if !this.yielded && !self.succeeds(next, running) =>
            {
                Choice::Turn(running)
            }
            (Choice::Idle, Some(running)) => Choice::Turn(running),
            (next, _) => next,
        }
    }

    /// Who goes first of those who wait.
    fn first(&self, queue: &Queue) -> Choice {
        match (queue.best, queue.boosted) {
            (Some(best), Some(boosted)) if best != boosted && self.jumps(boosted, best) => {
                Choice::Jump(boosted)
            }
            (Some(best), _) => Choice::Turn(best),
            (None, _) => Choice::Idle,
        }
    }

    /// Whether what runs may go on running here.
    fn may_stay(&self, slot: Slot, cpu: usize) -> bool {
        let Some(member) = self.member(slot.member) else { return false };
        member.ready()
            && member.unit(slot.unit).is_some_and(|unit| unit.awake)
            && self.cpus[cpu].pool == member.pool
            && member.cpus.contains(cpu)
    }

    /// Whose processor this is, and can run.
    fn owner(&self, cpu: usize) -> Option<Slot> {
        let members = self.members_of(self.cpus[cpu].pool).filter(|(_, member)| member.pauses == 0);
        let mut units = members.flat_map(|(member, m)| {
            m.units
                .iter()
                .enumerate()
                .filter_map(move |(at, u)| Some((Slot { member, unit: at }, u.as_ref()?)))
        });
        let (slot, unit) = units.find(|(_, unit)| unit.own == Some(cpu))?;
        // Until the processor it had before has left it, it waits.
        (unit.awake && unit.running.is_none_or(|other| other == cpu)).then_some(slot)
    }

    /// Puts a vcpu on a processor for a turn. Returns the one that was there, if it still wants to run.
    fn run(&mut self, cpu: usize, next: Option<Slot>, turn: u64) -> Option<Slot> {
        let now = self.now;
        let this = &mut self.cpus[cpu];
        let before = this.current;
        this.turn_end = now + turn;
        if before == next {
            return None;
        }
        this.current = next;
        this.since = now;
        this.charged = now;
        if let Some(unit) = before.and_then(|slot| self.unit_mut(slot)) {
            unit.running = None;
            unit.last = Some(cpu);
            unit.since = now;
        }
        if let Some(unit) = next.and_then(|slot| self.unit_mut(slot)) {
            unit.running = Some(cpu);
        }
        before
    }

    /// When the processor must ask again.
    fn horizon(&self, cpu: usize) -> Option<u64> {
        let this = &self.cpus[cpu];
        if self.policy(this.pool) == PoolPolicy::Null {
            return None;
        }
        let members = self.members_of(this.pool).filter(|(_, member)| member.cpus.contains(cpu));
        let mut at = members.filter_map(|(_, member)| member.parked).min();
        let mut earlier = |time: u64| at = Some(at.map_or(time, |at| at.min(time)));
        if let Some(slot) = this.current {
            let lasts = self.member(slot.member).and_then(|member| member.lasts());
            lasts.into_iter().for_each(|left| earlier(self.now + left));
            for waiting in self.waiting_for(cpu) {
                earlier(this.turn_end);
                if self.unit(waiting).is_some_and(|unit| unit.boost > 0) {
                    earlier(self.preempts_at(waiting, cpu));
                }
            }
        }
        at.map(|time| time.max(self.now + 1))
    }
}
