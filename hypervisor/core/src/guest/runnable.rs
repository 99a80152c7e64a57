//! Which vcpus may run: the one place where a vcpu's and its domain's state become the scheduler's.

use paravane_abi::vm_assist::VMASST_TYPE_RUNSTATE_UPDATE_FLAG;

use crate::domain::RunState;
use crate::event::Raised;
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;
use crate::sched::{CpuSet, VcpuKey};
use crate::time::{Runstate, publish_runstate};

impl<M: Machine> Hypervisor<M> {
    /// What the scheduler knows a vcpu by.
    pub(crate) fn key(&self, domain: usize, vcpu: usize) -> VcpuKey {
        VcpuKey { domain: self.domains[domain].id, vcpu: vcpu as u32 }
    }

    /// The processor that a vcpu is on.
    pub(crate) fn cpu_of(&self, domain: usize, vcpu: usize) -> Option<usize> {
        self.all_cpus().find(|cpu| cpu.runs(domain, vcpu)).map(|cpu| cpu.number)
    }

    /// Makes processors look whom to run, soon.
    pub(crate) fn look_again(&mut self, cpus: CpuSet) {
        cpus.iter().for_each(|cpu| self.kick(cpu));
    }

    /// Makes a processor look whom to run, soon.
    pub(crate) fn kick(&mut self, cpu: usize) {
        self.cpu_mut(cpu).attention = true;
        if cpu != self.here.number {
            self.machine.interrupt(cpu);
        }
    }

    /// Tells the scheduler of a vcpu whose state, or whose domain's, has changed. A vcpu that may no longer run
    /// but is on a processor stays there until that processor has looked: [`Self::cpu_of`] knows.
    pub(crate) fn refresh(&mut self, domain: usize, vcpu: usize) {
        let owner = &mut self.domains[domain];
        let may_run = owner.may_run();
        let state = &mut owner.vcpus[vcpu];
        let wanted = may_run && state.up && state.state == RunState::Runnable;
        if wanted == state.awake {
            return;
        }
        state.awake = wanted;
        let (key, now) = (self.key(domain, vcpu), self.now());
        let on = self.cpu_of(domain, vcpu);
        let look = if wanted { self.sched.wake(key, now) } else { self.sched.sleep(key, now) };
        self.look_again(look);
        if on.is_none() {
            self.account(domain, vcpu, self.waiting_state(domain, vcpu));
        }
    }

    /// The runstate of a vcpu that is on no processor.
    pub(crate) fn waiting_state(&self, domain: usize, vcpu: usize) -> Runstate {
        let vcpu = &self.domains[domain].vcpus[vcpu];
        match vcpu.state {
            _ if vcpu.awake => Runstate::Runnable,
            RunState::Blocked if vcpu.up => Runstate::Blocked,
            // Xen counts a paused vcpu as offline.
            RunState::Blocked | RunState::Runnable => Runstate::Offline,
        }
    }

    /// Books a vcpu's time and tells the guest, where it asked to be told.
    pub(crate) fn account(&mut self, domain: usize, vcpu: usize, state: Runstate) {
        let now = self.now();
        let clock = &mut self.domains[domain].vcpus[vcpu].runstate;
        if clock.state() != state {
            clock.enter(state, now);
            self.publish_runstate(domain, vcpu);
        }
    }

    /// Writes a vcpu's runstate to the area the guest registered. One that cannot be written is the guest's
    /// loss: it is tried again at the next change (as in Xen).
    pub(crate) fn publish_runstate(&self, domain: usize, vcpu: usize) {
        let owner = &self.domains[domain];
        let state = &owner.vcpus[vcpu];
        if state.runstate_area == 0 {
            return;
        }
        let Some(memory) = self.memory_of(domain, vcpu) else { return };
        let announce = owner.vm_assist >> VMASST_TYPE_RUNSTATE_UPDATE_FLAG & 1 != 0;
        publish_runstate(&state.runstate.read(self.now()), announce, |offset, bytes| {
            let _ = memory.copy_to_guest(state.runstate_area.wrapping_add(offset as u64), bytes);
        });
    }

    /// What a vcpu waited for has come.
    pub(crate) fn unblock(&mut self, domain: usize, number: usize) {
        let vcpu = &mut self.domains[domain].vcpus[number];
        vcpu.state = RunState::Runnable;
        // The timeout went with the poll; the next one may have none.
        vcpu.poll = None;
        vcpu.timers.set_poll(None);
        self.refresh(domain, number);
    }

    /// Wakes the vcpu of a domain that an event is for, and those that poll. A vcpu that runs on another processor is
    /// interrupted there: it takes its events when it returns to the guest.
    pub(crate) fn wake_in(&mut self, domain: usize, raised: Raised) {
        if raised.notify.is_none() && !raised.newly_pending {
            return;
        }
        for number in 0..self.domains[domain].vcpus.len() {
            let vcpu = &mut self.domains[domain].vcpus[number];
            let notified = raised.notify == Some(vcpu.id);
            let polled = vcpu.poll.is_some_and(|poll| poll.woken_by(&raised));
            match vcpu.state {
                RunState::Blocked if polled || notified => self.unblock(domain, number),
                RunState::Runnable if notified => {
                    let elsewhere = self.cpu_of(domain, number).filter(|cpu| *cpu != self.here.number);
                    if let Some(cpu) = elsewhere {
                        self.machine.interrupt(cpu);
                    }
                }
                _ => {}
            }
        }
    }
}
