//! Watchdog timers of domains (`SCHEDOP_watchdog`): a domain that does not set its timer again in time is
//! taken for hung and stopped.

use paravane_abi::errno::Errno;

use crate::domain::{Shutdown, WATCHDOGS};
use crate::hypervisor::Hypervisor;
use crate::machine::Machine;

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

impl<M: Machine> Hypervisor<M> {
    /// Sets, moves or stops a timer of the running domain's; the timer's number, counted from 1, when a new one
    /// was taken.
    pub(crate) fn set_watchdog(&mut self, id: u32, seconds: u32) -> Result<u64, Errno> {
        let deadline = self.now().saturating_add(u64::from(seconds) * SECOND);
        let watchdogs = &mut self.domain_mut().watchdogs;
        let answer = if id == 0 {
            // A timer of no time at all bites at once, as in Xen; and there the answer is a number without a sign, of 32
            // bits, so that the error is not extended.
            let Some(free) = watchdogs.iter().position(Option::is_none) else {
                return Ok(Errno::ENOSPC.to_rax() & u64::from(u32::MAX));
            };
            watchdogs[free] = Some(deadline);
            free as u64 + 1
        } else {
            let slot = watchdogs.get_mut(id as usize - 1).ok_or(Errno::EINVAL)?;
            if slot.is_none() {
                return Err(Errno::EINVAL);
            }
            *slot = (seconds != 0).then_some(deadline);
            0
        };
        self.timers_changed(self.current_domain(), 0);
        Ok(answer)
    }

    /// When the next watchdog of a domain bites, if this processor is the one that looks.
    pub(crate) fn next_watchdog(&self, domain: usize) -> Option<u64> {
        let domain = &self.domains[domain];
        let mine = domain.vcpus.first().is_some_and(|vcpu| vcpu.home == self.here.number);
        domain.watchdogs.iter().flatten().copied().min().filter(|_| mine)
    }

    /// Stops the domain if a watchdog of its is due.
    pub(crate) fn expire_watchdogs(&mut self, index: usize, now: u64) {
        if self.next_watchdog(index).is_none_or(|at| at > now) {
            return;
        }
        let domain = &mut self.domains[index];
        let due = (0..WATCHDOGS).find(|which| domain.watchdogs[*which].is_some_and(|at| at <= now));
        if let Some(which) = due {
            log::warn!("{}: watchdog timer {which} has run out", domain.id);
            domain.watchdogs[which] = None;
            self.stop_domain(index, Shutdown::Watchdog);
        }
    }
}
