//! A vcpu's timers: one-shot, periodic, and the timeout of a poll. The first two raise VIRQ_TIMER.

use paravane_abi::errno::Errno;

const MS: u64 = 1_000_000;
/// Shortest period a guest may ask for.
const PERIOD_MIN_NS: u64 = MS;
/// Longest period (Xen's STIME_DELTA_MAX).
const PERIOD_MAX_NS: u64 = u64::MAX >> 2;
/// The tick every vcpu starts with under Xen, until the guest sets or stops it.
pub const PERIOD_DEFAULT_NS: u64 = 10 * MS;
/// Timeouts of `set_timer_op` further ahead than this (13 days) are taken for an overflow in the guest.
const FAR_AHEAD_SHIFT: u32 = 50;
/// When such a timer fires instead.
const FAR_AHEAD_NS: u64 = 100 * MS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Period {
    length: u64,
    next: u64,
}

/// Which timers have run out.
#[must_use = "an expired timer is gone"]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Raise VIRQ_TIMER.
    pub timer: bool,
    /// End the vcpu's poll.
    pub poll: bool,
}

/// The timers of one vcpu. Times are absolute system time in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VcpuTimers {
    oneshot: Option<u64>,
    period: Option<Period>,
    last_tick: u64,
    poll: Option<u64>,
}

/// System time is signed in Xen: what a guest computes wrongly to be before its start has passed long ago.
const fn is_negative(time: u64) -> bool {
    time >> 63 != 0
}

impl VcpuTimers {
    /// Timers of a new vcpu: with Xen's 100 Hz tick when `tick` is set.
    pub fn new(now: u64, tick: bool) -> Self {
        let period = tick.then_some(Period { length: PERIOD_DEFAULT_NS, next: now + PERIOD_DEFAULT_NS });
        Self { period, last_tick: now, ..Self::default() }
    }

    /// The `set_timer_op` hypercall: sets the one-shot timer, or stops it when `timeout` is 0. A time in the past
    /// is due at once. A time that is negative or absurdly far ahead comes from a guest whose arithmetic
    /// wrapped; like Xen, wake it soon, but not so soon that it spins.
    pub fn set_timer_op(&mut self, timeout: u64, now: u64) {
        let absurd =
            timeout >> 63 != 0 || timeout.checked_sub(now).is_some_and(|ahead| ahead >> FAR_AHEAD_SHIFT != 0);
        self.oneshot = match timeout {
            0 => None,
            _ if absurd => Some(now.saturating_add(FAR_AHEAD_NS)),
            _ => Some(timeout),
        };
    }

    /// VCPUOP_set_singleshot_timer. Whether the time has passed already: then the timer is stopped and VIRQ_TIMER
    /// is to be raised now. VCPU_SSHOTTMR_future, which once asked for -ETIME instead, is ignored, as by
    /// Xen since 4.17.3 and as `xen/vcpu.h` allows.
    #[must_use = "true: raise VIRQ_TIMER"]
    pub fn set_singleshot(&mut self, timeout: u64, now: u64) -> bool {
        let passed = timeout < now || is_negative(timeout);
        self.oneshot = (!passed).then_some(timeout);
        passed
    }

    /// VCPUOP_stop_singleshot_timer.
    pub fn stop_singleshot(&mut self) {
        self.oneshot = None;
    }

    /// VCPUOP_set_periodic_timer. `Ok(true)`: the last tick is a whole period ago, so VIRQ_TIMER is to be raised now.
    pub fn set_periodic(&mut self, period_ns: u64, now: u64) -> Result<bool, Errno> {
        if !(PERIOD_MIN_NS..=PERIOD_MAX_NS).contains(&period_ns) {
            return Err(Errno::EINVAL);
        }
        self.period = Some(Period { length: period_ns, next: self.last_tick.saturating_add(period_ns) });
        Ok(self.tick(now))
    }

    /// VCPUOP_stop_periodic_timer.
    pub fn stop_periodic(&mut self) {
        self.period = None;
    }

    /// Sets or stops the timeout of a poll; a negative one has passed.
    pub fn set_poll(&mut self, timeout: Option<u64>) {
        self.poll = timeout.map(|at| if is_negative(at) { 0 } else { at });
    }

    /// The earliest time at which [`Self::expire`] has something to do.
    pub fn next(&self) -> Option<u64> {
        [self.oneshot, self.period.map(|period| period.next), self.poll].into_iter().flatten().min()
    }

    /// Takes the timers that are due. Ticks missed meanwhile are not made up for.
    pub fn expire(&mut self, now: u64) -> Due {
        let oneshot = self.oneshot.take_if(|at| *at <= now).is_some();
        let tick = self.tick(now);
        let poll = self.poll.take_if(|at| *at <= now).is_some();
        Due { timer: oneshot || tick, poll }
    }

    fn tick(&mut self, now: u64) -> bool {
        match &mut self.period {
            Some(period) if period.next <= now => {
                period.next = now.saturating_add(period.length);
                self.last_tick = now;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Due = Due { timer: false, poll: false };
    const TIMER: Due = Due { timer: true, poll: false };

    #[test]
    fn a_oneshot_fires_once() {
        let mut timers = VcpuTimers::default();
        assert_eq!(timers.next(), None);
        assert!(!timers.set_singleshot(500, 400));
        assert_eq!(timers.next(), Some(500));
        assert_eq!(timers.expire(499), NONE);
        assert_eq!(timers.expire(500), TIMER);
        assert_eq!(timers.expire(501), NONE);
        assert!(!timers.set_singleshot(600, 600), "now is not past");
        timers.stop_singleshot();
        assert_eq!(timers.expire(700), NONE);
    }

    #[test]
    fn a_time_in_the_past_fires_now_and_stops_the_timer() {
        let mut timers = VcpuTimers::default();
        assert!(!timers.set_singleshot(900, 400));
        assert!(timers.set_singleshot(399, 400));
        assert_eq!(timers.next(), None);
        timers.set_timer_op(399, 400);
        assert_eq!(timers.expire(400), TIMER);
    }

    #[test]
    fn negative_times_have_passed() {
        let mut timers = VcpuTimers::default();
        assert!(timers.set_singleshot(1 << 63, 400));
        assert!(timers.set_singleshot(u64::MAX, 400));
        timers.set_poll(Some(u64::MAX));
        assert_eq!(timers.expire(400), Due { timer: false, poll: true });
    }

    #[test]
    fn wrapped_timeouts_fire_soon() {
        let mut timers = VcpuTimers::default();
        let now = 5_000;
        for absurd in [1 << 63, u64::MAX, now + (1 << 50)] {
            timers.set_timer_op(absurd, now);
            assert_eq!(timers.next(), Some(now + 100 * MS), "{absurd:#x}");
        }
        timers.set_timer_op(now + (1 << 50) - 1, now);
        assert_eq!(timers.next(), Some(now + (1 << 50) - 1));
        timers.set_timer_op(0, now);
        assert_eq!(timers.next(), None);
        // The vcpu_op knows no time that is too far ahead.
        assert!(!timers.set_singleshot(u64::MAX >> 1, now));
        assert_eq!(timers.next(), Some(u64::MAX >> 1));
    }

    #[test]
    fn both_calls_set_the_same_timer() {
        let mut timers = VcpuTimers::default();
        timers.set_timer_op(1000, 1);
        assert!(!timers.set_singleshot(2000, 1));
        assert_eq!(timers.expire(1500), NONE);
        assert_eq!(timers.next(), Some(2000));
    }

    #[test]
    fn a_period_ticks_and_drops_what_was_missed() {
        let mut timers = VcpuTimers::new(0, true);
        assert_eq!(timers.next(), Some(10 * MS));
        assert_eq!(timers.expire(10 * MS), TIMER);
        assert_eq!(timers.expire(10 * MS), NONE);
        assert_eq!(timers.expire(75 * MS), TIMER);
        assert_eq!(timers.next(), Some(85 * MS));
        timers.stop_periodic();
        assert_eq!(timers.next(), None);
        assert_eq!(VcpuTimers::new(0, false).next(), None);
    }

    #[test]
    fn periods_have_limits() {
        let mut timers = VcpuTimers::new(0, true);
        for bad in [0, MS - 1, PERIOD_MAX_NS + 1, u64::MAX] {
            assert_eq!(timers.set_periodic(bad, 0), Err(Errno::EINVAL), "{bad}");
        }
        assert_eq!(timers.next(), Some(10 * MS), "a refused period changes nothing");
        assert_eq!(timers.set_periodic(MS, 0), Ok(false));
        assert_eq!(timers.next(), Some(MS));
        // The last tick counts from before: a period that has passed since ticks at once.
        assert_eq!(timers.set_periodic(2 * MS, 3 * MS), Ok(true));
        assert_eq!(timers.next(), Some(5 * MS));
        assert_eq!(timers.set_periodic(PERIOD_MAX_NS, 4 * MS), Ok(false));
    }

    #[test]
    fn a_poll_times_out_by_itself() {
        let mut timers = VcpuTimers::default();
        timers.set_poll(Some(50));
        assert!(!timers.set_singleshot(40, 0));
        assert_eq!(timers.next(), Some(40));
        assert_eq!(timers.expire(60), Due { timer: true, poll: true });
        timers.set_poll(Some(70));
        timers.set_poll(None);
        assert_eq!(timers.expire(80), NONE);
    }
}
