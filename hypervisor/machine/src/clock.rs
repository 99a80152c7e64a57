//! Time from the TSC, and the one-shot interrupt from the local APIC, both calibrated against the 8254.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::device::{apic, pit};
use crate::smp::watchdog;

static TSC_KHZ: AtomicU64 = AtomicU64::new(0);
static APIC_KHZ: AtomicU64 = AtomicU64::new(0);

/// Calibration time in the 8254's ticks, 10 ms: what a port read takes does not matter beside it.
const CALIBRATION_TICKS: u16 = 11_932;
/// Calibrations that may fail, and readings of which the quickest counts. A machine that is itself a program may be
/// held up anywhere: in a reading, which makes it slow, or between two, for so long that the 8254 runs out.
const CALIBRATIONS: usize = 200;
const READINGS: usize = 16;
/// Readings of the 8254 before it counts as absent: it runs out after 55 ms, and a reading takes at least as long as a
/// transaction on the ISA bus, about a microsecond.
const LIMIT: usize = 1_000_000;

/// The time-stamp counter.
#[inline]
pub fn tsc() -> u64 {
    // SAFETY: reading the TSC has no effect.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// All three clocks at one moment.
struct Reading {
    tsc: u64,
    apic: u32,
    pit: u16,
}

/// The quickest of some readings; `None` when the 8254 has run out.
fn reading() -> Option<Reading> {
    let mut best = (u64::MAX, Reading { tsc: 0, apic: 0, pit: 0 });
    for _ in 0..READINGS {
        let start = tsc();
        let (apic, pit) = (apic::remaining(), pit::remaining()?);
        let took = tsc() - start;
        if took < best.0 {
            best = (took, Reading { tsc: start, apic, pit });
        }
    }
    Some(best.1)
}

/// Ticks of the TSC and of the APIC's timer in a millisecond; `None` when the 8254 ran out between two readings.
fn measure() -> Option<(u64, u64)> {
    apic::start_free_running();
    pit::start();
    let start = reading()?;
    let until = start.pit.checked_sub(CALIBRATION_TICKS)?;
    let waited = (0..LIMIT).find_map(|_| match pit::remaining() {
        Some(left) if left > until => None,
        other => Some(other),
    });
    waited.expect("the 8254 timer does not count")?;
    let end = reading()?;
    let ticks = u64::from(start.pit.checked_sub(end.pit)?).max(1);
    let kilohertz = |count: u64| (count * pit::FREQUENCY / ticks / 1000).max(1);
    Some((kilohertz(end.tsc - start.tsc), kilohertz(u64::from(start.apic - end.apic))))
}

/// Measures both clocks. Interrupts must be off.
///
/// # Panics
/// When the 8254 does not count: without it there is no time at all.
pub fn calibrate() {
    let measured = (0..CALIBRATIONS).find_map(|_| measure());
    let (tsc_khz, apic_khz) = measured.expect("the 8254 timer always runs out before it is read");
    pit::stop();
    TSC_KHZ.store(tsc_khz, Ordering::Relaxed);
    APIC_KHZ.store(apic_khz, Ordering::Relaxed);
    apic::stop_free_running();
}

/// TSC ticks in a millisecond.
pub fn tsc_khz() -> u64 {
    TSC_KHZ.load(Ordering::Relaxed)
}

/// APIC timer ticks in a millisecond.
pub fn apic_khz() -> u64 {
    APIC_KHZ.load(Ordering::Relaxed)
}

/// Waits until `done` says so, but at most so many microseconds; returns whether it did.
pub fn wait_until(microseconds: u64, done: impl Fn() -> bool) -> bool {
    let start = tsc();
    let ticks = microseconds.saturating_mul(tsc_khz()) / 1000;
    loop {
        if done() {
            return true;
        }
        if tsc().wrapping_sub(start) >= ticks {
            return false;
        }
        core::hint::spin_loop();
    }
}

/// Asks for the timer interrupt `nanoseconds` from now (at once when 0); `None` cancels it. A longer wait than
/// the counter holds, or than the watchdog allows, ends early, and the caller finds its deadline still ahead.
pub fn arm(nanoseconds: Option<u64>) {
    let nanoseconds = [nanoseconds, watchdog::period()].into_iter().flatten().min();
    let Some(nanoseconds) = nanoseconds else { return apic::arm(0) };
    let ticks = u128::from(nanoseconds) * u128::from(apic_khz()) / 1_000_000;
    apic::arm(ticks.clamp(1, u128::from(u32::MAX)) as u32);
}

/// Seconds since 1970 from the real-time clock (MC146818, in UTC as QEMU and Xen keep it).
pub fn wall_clock() -> u64 {
    rtc::read()
}

mod rtc {
    use x86_64::instructions::port::Port;

    fn register(index: u8) -> u8 {
        // SAFETY: the clock's index and data ports; bit 7 of the index (NMI mask) stays clear.
        unsafe {
            Port::<u8>::new(0x70).write(index);
            Port::<u8>::new(0x71).read()
        }
    }

    /// Looks at the clock before it is read regardless: an update takes 2 ms, and a look at least as long as a
    /// transaction on the ISA bus, about a microsecond.
    const UPDATE_LIMIT: u32 = 20_000;
    /// Readings before one is taken as it is: the next second is the first in which two differ again.
    const READING_LIMIT: u32 = 10;

    /// One reading: seconds, minutes, hours, day, month, year within the century.
    fn reading() -> [u8; 6] {
        for _ in 0..UPDATE_LIMIT {
            if register(0x0a) & 0x80 == 0 {
                break;
            }
            core::hint::spin_loop();
        }
        [0x00, 0x02, 0x04, 0x07, 0x08, 0x09].map(register)
    }

    /// Reads until two readings agree, so that no update lies in between.
    pub fn read() -> u64 {
        let mut fields = reading();
        for _ in 0..READING_LIMIT {
            let again = reading();
            if again == fields {
                break;
            }
            fields = again;
        }
        let binary = register(0x0b) & 0x04 != 0;
        let decode = |value: u8| u64::from(if binary { value } else { (value >> 4) * 10 + (value & 0xf) });
        let [second, minute, hour, day, month, year] = fields.map(decode);
        seconds_since_1970(2000 + year, month, day) + hour * 3600 + minute * 60 + second
    }

    /// Days from the civil date, with years that begin in March so that the leap day is last.
    fn seconds_since_1970(year: u64, month: u64, day: u64) -> u64 {
        let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
        let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
        (days - 719_468) * 86_400
    }
}
