//! How long a vcpu was in each state (`xen/vcpu.h`): guests compute stolen time from it.

use paravane_abi::vcpu::{
    RUNSTATE_BLOCKED, RUNSTATE_OFFLINE, RUNSTATE_RUNNABLE, RUNSTATE_RUNNING, VcpuRunstateInfo,
};

/// What a vcpu is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Runstate {
    /// Executing on a CPU.
    Running = RUNSTATE_RUNNING,
    /// Able to run, but no CPU has time for it: stolen time.
    Runnable = RUNSTATE_RUNNABLE,
    /// Waiting for an event.
    Blocked = RUNSTATE_BLOCKED,
    /// Not up, or paused.
    Offline = RUNSTATE_OFFLINE,
}

/// A vcpu's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunstateClock {
    state: Runstate,
    since: u64,
    times: [u64; 4],
}

impl RunstateClock {
    /// A vcpu that is offline since `now`.
    pub fn new(now: u64) -> Self {
        Self { state: Runstate::Offline, since: now, times: [0; 4] }
    }

    /// The state.
    pub fn state(&self) -> Runstate {
        self.state
    }

    /// The vcpu changes state. Time that seems to run backwards (TSCs that differ) is not booked.
    pub fn enter(&mut self, state: Runstate, now: u64) {
        self.book(now);
        self.state = state;
    }

    /// The state, when it was entered, and the times per state up to `now`, as the guest gets them.
    pub fn read(&self, now: u64) -> VcpuRunstateInfo {
        let mut copy = *self;
        copy.book(now);
        VcpuRunstateInfo { state: self.state as u32, pad: 0, state_entry_time: self.since, time: copy.times }
    }

    /// Time spent in a state up to `now`.
    pub fn spent(&self, state: Runstate, now: u64) -> u64 {
        self.read(now).time[state as usize]
    }

    fn book(&mut self, now: u64) {
        let spent = now.saturating_sub(self.since);
        self.times[self.state as usize] += spent;
        self.since = self.since.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_time_is_booked_once() {
        let mut clock = RunstateClock::new(100);
        clock.enter(Runstate::Runnable, 150);
        clock.enter(Runstate::Running, 170);
        clock.enter(Runstate::Blocked, 300);
        clock.enter(Runstate::Running, 1000);
        let info = clock.read(1100);
        assert_eq!((info.state, info.state_entry_time), (RUNSTATE_RUNNING, 1000));
        assert_eq!(info.time, [130 + 100, 20, 700, 50]);
        assert_eq!(info.time.iter().sum::<u64>(), 1100 - 100);
        // Reading changes nothing.
        assert_eq!(clock.read(1100), info);
        assert_eq!(clock.spent(Runstate::Blocked, 5000), 700);
        assert_eq!(clock.state(), Runstate::Running);
    }

    #[test]
    fn time_that_runs_backwards_is_not_booked() {
        let mut clock = RunstateClock::new(100);
        clock.enter(Runstate::Running, 90);
        let info = clock.read(95);
        assert_eq!((info.state, info.state_entry_time, info.time), (RUNSTATE_RUNNING, 100, [0; 4]));
        clock.enter(Runstate::Blocked, 130);
        assert_eq!(clock.read(130).time, [30, 0, 0, 0]);
    }
}
