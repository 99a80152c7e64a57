//! From TSC ticks to nanoseconds and back.

use paravane_abi::shared_info::VcpuTimeInfo;

/// A TSC of known frequency, and the system time at one of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    hz: u64,
    mul: u32,
    shift: i8,
    stamp: u64,
    stamp_ns: u64,
}

impl Clock {
    /// A clock that reads 0 at TSC value `tsc`. `None` for a frequency of 0.
    pub fn new(hz: u64, tsc: u64) -> Option<Self> {
        let (mul, shift) = VcpuTimeInfo::scale_for_hz(hz)?;
        Some(Self { hz, mul, shift, stamp: tsc, stamp_ns: 0 })
    }

    /// Ticks per second.
    pub fn hz(&self) -> u64 {
        self.hz
    }

    /// System time at a TSC value. A value before the stamp (another CPU's, slightly behind) counts as the stamp.
    ///
    /// Exactly what the guest computes from the parameters it is given, as long as its 64-bit arithmetic does
    /// not overflow, so hypervisor and guest agree on when a timer is due.
    pub fn ns(&self, tsc: u64) -> u64 {
        let delta = u128::from(tsc.saturating_sub(self.stamp));
        let shifted = if self.shift < 0 {
            delta >> self.shift.unsigned_abs().min(127)
        } else {
            // A slow TSC is shifted by at most 31, since `mul` is at least 2^31.
            delta << (self.shift as u32).min(63)
        };
        // 64 + 63 bits times 32 bits could pass 128, but only after centuries: saturate.
        let ns = shifted.checked_mul(u128::from(self.mul)).map_or(u128::MAX, |product| product >> 32);
        self.stamp_ns.saturating_add(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    /// A TSC value at which the system time has reached `ns`, by the scale's granularity the first or a few ticks
    /// later; the largest value when the time lies too far ahead.
    pub fn tsc_at(&self, ns: u64) -> u64 {
        let guess = self.stamp.saturating_add(self.ticks(ns.saturating_sub(self.stamp_ns)));
        // The scale is rounded down, so the guess can be early by a part of 2^31 of the distance. Going on from
        // there by what is missing converges at once: the missing part shrinks by 2^31 each time.
        let mut tsc = guess;
        while self.ns(tsc) < ns {
            let missing = self.ticks(ns - self.ns(tsc)).max(1);
            match tsc.checked_add(missing) {
                Some(later) => tsc = later,
                None => return u64::MAX,
            }
        }
        tsc
    }

    /// Ticks in so many nanoseconds, rounded up.
    pub fn ticks(&self, ns: u64) -> u64 {
        let ticks = (u128::from(ns) * u128::from(self.hz)).div_ceil(1_000_000_000);
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// Moves the stamp forward, for a guest that computes with 64 bits: a TSC difference times `mul` must not
    /// overflow for as long as it goes without an update.
    #[must_use]
    pub fn restamped(self, tsc: u64) -> Self {
        Self { stamp: tsc.max(self.stamp), stamp_ns: self.ns(tsc), ..self }
    }

    /// The parameters as a guest gets them. `flags` are `PVCLOCK_*`: TSC_STABLE only when the TSCs of all CPUs
    /// are known to agree. The version is the publisher's.
    pub fn time_info(&self, flags: u8) -> VcpuTimeInfo {
        VcpuTimeInfo {
            tsc_timestamp: self.stamp,
            system_time: self.stamp_ns,
            tsc_to_system_mul: self.mul,
            tsc_shift: self.shift,
            flags,
            ..VcpuTimeInfo::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREQUENCIES: [u64; 8] =
        [1, 1_000, 1_193_182, 999_999_999, 1_000_000_000, 2_399_999_872, 5_500_000_000, 40_000_000_000];

    #[test]
    fn a_day_of_ticks_is_a_day() {
        for hz in FREQUENCIES {
            let clock = Clock::new(hz, 77).unwrap();
            assert_eq!(clock.ns(77), 0);
            assert_eq!(clock.ns(0), 0);
            let day = clock.ns(77 + hz * 86_400);
            // The scale is exact to one part in 2^31.
            assert!(day.abs_diff(86_400_000_000_000) < 86_400_000_000_000 / (1 << 30), "{hz} Hz: {day}");
        }
        assert_eq!(Clock::new(0, 0), None);
    }

    #[test]
    fn nothing_overflows() {
        for hz in FREQUENCIES {
            let clock = Clock::new(hz, 0).unwrap();
            assert!(clock.ns(u64::MAX) >= clock.ns(u64::MAX / 4));
            assert!(clock.tsc_at(u64::MAX) >= clock.tsc_at(u64::MAX / 2));
            assert!(clock.ticks(u64::MAX) > 0);
        }
        assert_eq!(Clock::new(1, 0).unwrap().ns(u64::MAX), u64::MAX);
    }

    #[test]
    fn hypervisor_and_guest_agree() {
        for hz in FREQUENCIES {
            let clock = Clock::new(hz, 1_000_000).unwrap().restamped(1_000_000 + hz / 3);
            let guest = clock.time_info(0);
            for delta in [0, 1, 1000, hz / 7, hz, hz * 4] {
                let tsc = guest.tsc_timestamp + delta;
                assert_eq!(clock.ns(tsc), guest.system_time_at(tsc), "{hz} Hz, {delta} ticks");
            }
        }
    }

    #[test]
    fn a_deadline_is_met_and_not_early() {
        for hz in FREQUENCIES {
            let clock = Clock::new(hz, 12_345).unwrap();
            for ns in [0, 1, 999, 1_000_000, 123_456_789_012, 86_400_000_000_000, u64::MAX / 1_000_000] {
                let tsc = clock.tsc_at(ns);
                assert!(clock.ns(tsc) >= ns, "{hz} Hz: {ns} ns is early");
                // The guess is rounded up to whole ticks, and corrected by whole nanoseconds.
                let slack = 2 + 2 * clock.ticks(1);
                assert!(tsc < 12_345 + slack || clock.ns(tsc - slack) < ns, "{hz} Hz: {ns} ns is late");
            }
            assert_eq!(clock.tsc_at(0), 12_345);
        }
    }

    #[test]
    fn a_new_stamp_goes_on_where_the_old_one_was() {
        let clock = Clock::new(2_400_000_000, 500).unwrap();
        let later = clock.restamped(24_000_000_500);
        assert_eq!(later.ns(24_000_000_500), clock.ns(24_000_000_500));
        assert!(later.ns(48_000_000_500).abs_diff(clock.ns(48_000_000_500)) <= 1);
        // A stamp never goes backwards.
        assert_eq!(later.restamped(3).time_info(0).tsc_timestamp, 24_000_000_500);
    }
}
