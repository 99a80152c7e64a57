//! Timers: what is due, and what the machine is armed for.

use crate::domain::RunState;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

/// The timer's virtual interrupt line (`VIRQ_TIMER`).
const VIRQ_TIMER: u32 = 0;

impl<M: Machine> Hypervisor<M> {
    /// System time now, in nanoseconds.
    #[inline]
    pub fn now(&self) -> u64 {
        self.clock.ns(self.machine.tsc())
    }

    /// Books a device interrupt.
    pub fn count_interrupt(&mut self) {
        self.counters.interrupts += 1;
        self.counters.total_entries += 1;
    }

    /// This processor's timer fired.
    pub fn timer_interrupt(&mut self) {
        self.enter();
        self.here.armed = None;
        let now = self.now();
        if self.here.slice_end.take_if(|end| *end <= now).is_some() {
            self.here.attention = true;
        }
        self.program_timer();
    }

    /// Serves every timer of this processor's that is due and arms it for the next. A vcpu's timers are served
    /// by the processor it ran on last; those of a domain that has stopped are left as they are.
    pub(crate) fn program_timer(&mut self) {
        let now = self.now();
        let mut next = self.here.slice_end;
        for domain in 0..self.domains.len() {
            if !self.domains[domain].may_run() {
                continue;
            }
            self.expire_timers(domain, now);
            let home = self.here.number;
            let vcpus = self.domains[domain].vcpus.iter().filter(|vcpu| vcpu.home == home);
            let first = vcpus.filter_map(|vcpu| vcpu.timers.next()).min();
            next = [next, first, self.next_watchdog(domain)].into_iter().flatten().min();
        }
        if next != self.here.armed {
            self.here.armed = next;
            self.machine.arm_timer(next.map(|at| at.saturating_sub(now)));
        }
    }

    fn expire_timers(&mut self, index: usize, now: u64) {
        let home = self.here.number;
        for number in 0..self.domains[index].vcpus.len() {
            let vcpu = &mut self.domains[index].vcpus[number];
            if vcpu.home != home || vcpu.timers.next().is_none_or(|at| at > now) {
                continue;
            }
            let due = vcpu.timers.expire(now);
            if due.poll && vcpu.poll.take().is_some() {
                vcpu.state = RunState::Runnable;
                self.refresh(index, number);
            }
            if due.timer && self.domains[index].pc.is_some() {
                self.advance_pc(index, now);
            } else if due.timer {
                self.raise_virq(index, VIRQ_TIMER, number as u32);
            }
        }
        self.expire_watchdogs(index, now);
    }

    /// The timers of a vcpu that may have another home have changed.
    pub(crate) fn timers_changed(&mut self, domain: usize, vcpu: usize) {
        let home = self.domains[domain].vcpus[vcpu].home;
        if home == self.here.number {
            self.program_timer();
        } else {
            self.kick(home);
        }
    }

    /// Raises a virtual interrupt of a domain's.
    pub(crate) fn raise_virq(&mut self, index: usize, virq: u32, vcpu: u32) {
        let (ports, bits) = self.events(index);
        if let Some(raised) = ports.raise_virq(&bits, virq, vcpu) {
            self.wake_in(index, raised);
        }
    }

    /// Sets the timeout of the running vcpu's poll.
    pub(crate) fn arm_poll_timeout(&mut self, deadline: u64) {
        self.vcpu_mut().timers.set_poll(Some(deadline));
        self.program_timer();
    }
}
