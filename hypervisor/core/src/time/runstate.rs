//! How long a vcpu was in each state (`xen/vcpu.h`): guests compute stolen time from it.

/// What a vcpu is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Runstate {
    /// Executing on a CPU.
    Running = 0,
    /// Able to run, but no CPU has time for it: stolen time.
    Runnable = 1,
    /// Waiting for an event.
    Blocked = 2,
    /// Not up, or paused.
    Offline = 3,
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

    /// State, time it was entered, and times per state up to `now`: the contents of `vcpu_runstate_info`.
    pub fn read(&self, now: u64) -> (Runstate, u64, [u64; 4]) {
        let mut copy = *self;
        copy.book(now);
        (self.state, self.since, copy.times)
    }

    /// Time spent in a state up to `now`.
    pub fn spent(&self, state: Runstate, now: u64) -> u64 {
        self.read(now).2[state as usize]
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
        let (state, since, times) = clock.read(1100);
        assert_eq!((state, since), (Runstate::Running, 1000));
        assert_eq!(times, [130 + 100, 20, 700, 50]);
        assert_eq!(times.iter().sum::<u64>(), 1100 - 100);
        // Reading changes nothing.
        assert_eq!(clock.read(1100), (state, since, times));
        assert_eq!(clock.spent(Runstate::Blocked, 5000), 700);
        assert_eq!(clock.state(), Runstate::Running);
    }

    #[test]
    fn time_that_runs_backwards_is_not_booked() {
        let mut clock = RunstateClock::new(100);
        clock.enter(Runstate::Running, 90);
        assert_eq!(clock.read(95), (Runstate::Running, 100, [0; 4]));
        clock.enter(Runstate::Blocked, 130);
        assert_eq!(clock.read(130).2, [30, 0, 0, 0]);
    }

    #[test]
    fn the_numbers_are_xens() {
        let states = [Runstate::Running, Runstate::Runnable, Runstate::Blocked, Runstate::Offline];
        assert_eq!(states.map(|state| state as u32), [0, 1, 2, 3]);
    }
}
