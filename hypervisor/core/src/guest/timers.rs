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

    /// The machine's timer fired.
    pub fn timer_interrupt(&mut self) {
        self.armed = None;
        self.program_timer();
    }

    /// Serves every timer that is due and arms the machine for the next.
    pub(crate) fn program_timer(&mut self) {
        let now = self.now();
        for index in 0..self.domains.len() {
            self.expire_timers(index, now);
        }
        let vcpus = self.domains.iter().flat_map(|domain| &domain.vcpus);
        let next = vcpus.filter_map(|vcpu| vcpu.timers.next()).min();
        if next != self.armed {
            self.armed = next;
            self.machine.arm_timer(next.map(|at| at.saturating_sub(now)));
        }
    }

    fn expire_timers(&mut self, index: usize, now: u64) {
        for number in 0..self.domains[index].vcpus.len() {
            let vcpu = &mut self.domains[index].vcpus[number];
            if vcpu.timers.next().is_none_or(|at| at > now) {
                continue;
            }
            let due = vcpu.timers.expire(now);
            if due.poll && vcpu.poll.take().is_some() {
                vcpu.state = RunState::Runnable;
            }
            if due.timer {
                self.raise_virq(index, VIRQ_TIMER, number as u32);
            }
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
