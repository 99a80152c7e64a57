//! The clock: the processor's time-stamp counter, at the rate that the interval timer finds, and the wall clock's time at
//! boot.

use core::sync::atomic::{AtomicU64, Ordering};

use pv_guest_logic::calendar::{Registers, nanoseconds};
use x86_64::instructions::port::Port;

use super::pit;
use crate::arch;

/// How long the counters are compared, in counts of the timer: 10 ms.
const COUNTS: u16 = 11_932;

/// The counter at system time 0.
static START: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds of a count, times 2^32.
static SCALE: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds from 1970 to system time 0.
static WALL_CLOCK: AtomicU64 = AtomicU64::new(0);

/// Nanoseconds a second.
const NS: u128 = 1_000_000_000;

/// The counter's rate, by the timer.
fn measured_hz() -> u64 {
    pit::start_measure();
    let first = pit::look();
    loop {
        let last = pit::look();
        // The count has passed its end if it is larger: so much later a look is good too, but for the counts themselves.
        let counts = first.count.wrapping_sub(last.count);
        if counts >= COUNTS {
            let ticks = u128::from(last.tsc - first.tsc) * u128::from(pit::HZ);
            return u64::try_from(ticks / u128::from(counts)).unwrap_or(u64::MAX).max(1);
        }
    }
}

/// Finds out how fast the counter counts, and what time it is. Time begins here.
pub fn init() {
    let hz = measured_hz();
    SCALE.store(((NS << 32) / u128::from(hz)) as u64, Ordering::Relaxed);
    START.store(arch::rdtsc(), Ordering::Relaxed);
    WALL_CLOCK.store(read_calendar(), Ordering::Relaxed);
}

/// Nanoseconds since the clock was started.
pub fn system_time() -> u64 {
    let counts = arch::rdtsc().saturating_sub(START.load(Ordering::Relaxed));
    ((u128::from(counts) * u128::from(SCALE.load(Ordering::Relaxed))) >> 32) as u64
}

/// Nanoseconds from 1970 to system time 0.
pub fn wall_clock_base() -> u64 {
    WALL_CLOCK.load(Ordering::Relaxed)
}

/// A register of the battery-backed clock (Motorola's MC146818A).
fn calendar_register(number: u8) -> u8 {
    // SAFETY: the clock's ports are this kernel's. Bit 7 of the number keeps NMIs as they are: let through.
    unsafe {
        Port::<u8>::new(0x70).write(number);
        Port::new(0x71).read()
    }
}

/// The wall clock's time, read twice alike while no update is in progress.
fn read_calendar() -> u64 {
    const UPDATING: u8 = 1 << 7;
    let once = || {
        while calendar_register(0x0a) & UPDATING != 0 {}
        Registers {
            time: [0, 2, 4, 7, 8, 9].map(calendar_register),
            century: calendar_register(0x32),
            format: calendar_register(0x0b),
        }
    };
    let mut registers = once();
    loop {
        let again = once();
        if again == registers {
            return nanoseconds(&registers);
        }
        registers = again;
    }
}
