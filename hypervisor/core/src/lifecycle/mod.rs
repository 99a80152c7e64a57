//! How domains begin and end.
//!
//! A domain that stops is first taken off the processors; then what was configured follows. Destroying and
//! building take as long as the domain is large, so they are jobs that the scheduler's worker does in bounded
//! steps, as one unit among the guests' vcpus: nobody waits for them, and they take no more than their share.

mod destroy;
mod share;
mod watchdog;

pub(crate) use destroy::Destruction;

use crate::build::Action;
use crate::construct::Construction;
use crate::domain::{Domain, Life, Shutdown};
use crate::hypervisor::{Hypervisor, Leave};
use crate::machine::Machine;
use crate::sched::VcpuKey;

/// Work that is no guest's.
pub(crate) enum Job {
    /// Gives back all that a domain has, and builds it again if so told.
    Destroy(Destruction, bool),
    /// Builds a domain.
    Build(Construction),
}

/// How a job's step ended.
pub(crate) enum Step {
    /// The job goes on.
    Again(Job),
    /// It is done.
    Done,
}

impl Leave {
    /// What a domain's end means for the machine's.
    const fn of(shutdown: Shutdown) -> Self {
        match shutdown {
            Shutdown::PowerOff | Shutdown::Suspend => Self::PowerOff,
            Shutdown::Reboot | Shutdown::SoftReset => Self::Reboot,
            Shutdown::Crash | Shutdown::Watchdog => Self::Crash,
        }
    }
}

impl<M: Machine> Hypervisor<M> {
    /// A domain has stopped: its vcpus leave the processors, this one's at the next return.
    pub(crate) fn stop_domain(&mut self, domain: usize, shutdown: Shutdown) {
        if self.domains[domain].shutdown.is_some() {
            return;
        }
        self.domains[domain].shutdown = Some(shutdown);
        self.domains[domain].watchdogs = Default::default();
        self.flush_lines(domain);
        for vcpu in 0..self.domains[domain].vcpus.len() {
            self.refresh(domain, vcpu);
        }
        self.retire_if_still(domain);
    }

    /// Does what was configured for a domain that has stopped, once none of its vcpus is on a processor.
    pub(crate) fn retire_if_still(&mut self, index: usize) {
        let domain = &self.domains[index];
        let Some(shutdown) = domain.shutdown.filter(|_| domain.life == Life::Running) else { return };
        if self.all_cpus().any(|cpu| cpu.runs_domain(index)) {
            return;
        }
        let action = shutdown.action(&domain.actions);
        log::info!("{} '{}' has stopped ({shutdown:?}): {}", domain.id, domain.name, action.name());
        if action == Action::Preserve {
            self.verdict = self.verdict.max(Leave::of(shutdown));
            self.domains[index].life = Life::Preserved;
        } else {
            let again = action == Action::Restart && domain.restarts < domain.plan.config.restarts;
            if !again {
                self.verdict = self.verdict.max(Leave::of(shutdown));
            }
            self.domains[index].life = Life::Stopped;
            self.begin(Job::Destroy(Destruction::new(self.domains[index].id), again));
        }
        // The machine may have nothing left to do.
        self.here.attention = true;
    }

    /// Queues a job.
    pub(crate) fn begin(&mut self, job: Job) {
        self.jobs.push_back(job);
        let now = self.now();
        let look = self.sched.wake(VcpuKey::WORKER, now);
        self.look_again(look);
    }

    /// One bounded step of the first job.
    pub(crate) fn work(&mut self) {
        // The tables that a job changes are no vcpu's that any processor could go on with: a domain that is built
        // again has the names of the one before it.
        self.cpus.iter_mut().chain([&mut self.here]).for_each(|cpu| cpu.resident = None);
        let Some(job) = self.jobs.pop_front() else { return };
        let step = match job {
            Job::Destroy(destruction, again) => self.destroy_step(destruction, again),
            Job::Build(construction) => self.build_step(construction),
        };
        if let Step::Again(job) = step {
            self.jobs.push_front(job);
        }
        self.look_for_last_unmap();
        if self.jobs.is_empty() {
            let now = self.now();
            let look = self.sched.sleep(VcpuKey::WORKER, now);
            self.look_again(look);
        }
    }

    /// Whether nothing can happen any more, and how it ended.
    pub(crate) fn all_over(&self) -> Option<Leave> {
        // What is dying without a job waits for a domain that is preserved to unmap a frame, which it won't.
        let still = |domain: &Domain| matches!(domain.life, Life::Preserved | Life::Dying);
        let over = self.jobs.is_empty() && self.domains.iter().all(still);
        over.then_some(self.verdict)
    }
}
