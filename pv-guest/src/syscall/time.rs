//! Clocks and sleeping.

use crate::errno::{Errno, Result};
use crate::mm::user;
use crate::{process, time as clock};

const NS: u64 = 1_000_000_000;
const CLOCK_REALTIME: u64 = 0;

/// A `struct timespec` from user memory, in nanoseconds.
pub fn read_timespec(addr: u64) -> Result<u64> {
    let [seconds, nanoseconds] = user::read::<[i64; 2]>(addr)?;
    if seconds < 0 || !(0..NS as i64).contains(&nanoseconds) {
        return Err(Errno::EINVAL);
    }
    Ok((seconds as u64).saturating_mul(NS).saturating_add(nanoseconds as u64))
}

fn write_timespec(addr: u64, ns: u64) -> Result<()> {
    user::write(addr, &[ns / NS, ns % NS])
}

/// The monotonic time some nanoseconds from now.
pub fn deadline_after(ns: u64) -> u64 {
    clock::monotonic_ns().saturating_add(ns)
}

/// Real-time clocks: 0 and 5 (coarse); monotonic ones: 1, 4 (raw), 6 (coarse), 7 (boot), and the processor
/// times 2 and 3, which are not kept and read as time since boot.
fn read_clock(id: u64) -> Result<u64> {
    match id {
        CLOCK_REALTIME | 5 => Ok(clock::realtime_ns()),
        1..=4 | 6 | 7 => Ok(clock::monotonic_ns()),
        _ => Err(Errno::EINVAL),
    }
}

/// `clock_gettime`.
pub fn clock_gettime(id: u64, out: u64) -> Result<u64> {
    write_timespec(out, read_clock(id)?)?;
    Ok(0)
}

/// `clock_getres`.
pub fn clock_getres(id: u64, out: u64) -> Result<u64> {
    read_clock(id)?;
    if out != 0 {
        write_timespec(out, 1)?;
    }
    Ok(0)
}

/// `gettimeofday`.
pub fn gettimeofday(out: u64, zone: u64) -> Result<u64> {
    let ns = clock::realtime_ns();
    if out != 0 {
        user::write(out, &[ns / NS, ns % NS / 1000])?;
    }
    if zone != 0 {
        user::write(zone, &[0u32; 2])?;
    }
    Ok(0)
}

/// `time`.
pub fn time(out: u64) -> Result<u64> {
    let seconds = clock::realtime_ns() / NS;
    if out != 0 {
        user::write(out, &seconds)?;
    }
    Ok(seconds)
}

/// `times`: processor times are not kept; the result counts hundredths of a second since boot.
pub fn times(out: u64) -> Result<u64> {
    if out != 0 {
        user::write(out, &[0u64; 4])?;
    }
    Ok(clock::monotonic_ns() / 10_000_000)
}

/// `nanosleep`.
pub fn nanosleep(request: u64, remaining: u64) -> Result<u64> {
    sleep(deadline_after(read_timespec(request)?), remaining)
}

/// `clock_nanosleep`.
pub fn clock_nanosleep(id: u64, flags: u64, request: u64, remaining: u64) -> Result<u64> {
    const TIMER_ABSTIME: u64 = 1;
    let now = read_clock(id)?;
    let ns = read_timespec(request)?;
    if flags & TIMER_ABSTIME == 0 {
        return sleep(deadline_after(ns), remaining);
    }
    // Nothing remains to be told of a sleep until a point in time.
    sleep(deadline_after(ns.saturating_sub(now)), 0)
}

fn sleep(deadline: u64, remaining: u64) -> Result<u64> {
    let result = process::sleep_until(deadline);
    if result == Err(Errno::EINTR) && remaining != 0 {
        write_timespec(remaining, deadline.saturating_sub(clock::monotonic_ns()))?;
    }
    result.map(|()| 0)
}
