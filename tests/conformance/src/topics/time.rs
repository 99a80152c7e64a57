//! Time (xen/include/public/xen.h, `struct vcpu_time_info` and the wall clock of `struct shared_info`).
//!
//! System time is nanoseconds since the machine's start: `system_time` at the TSC value `tsc_timestamp`, and from there
//! ticks, shifted by `tsc_shift`, times `tsc_to_system_mul` / 2^32. The version is odd while the hypervisor writes. The wall
//! clock is seconds and nanoseconds since 1970 at system time 0.

use core::arch::x86_64::_rdtsc;

use paravane_abi::hypercall::HYPERVISOR_SCHED_OP;
use paravane_abi::sched::{SCHEDOP_POLL, SchedPoll};
use pv_probe::guard::RETURNED;
use pv_probe::hypercall::{operation, yield_now};
use pv_probe::memory::{shared, vcpu_info};
use pv_probe::vcpus;

use crate::case::{Case, Row, Stop, Verdict};
use crate::topics::clock;
use crate::topics::port::Port;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::call(
    "time",
    &[
        Case::good("version", "the version is even at rest", version),
        Case::good("monotonic", "a thousand readings, none before the one before", monotonic),
        Case::good("monotonic-over-calls", "the same with the processor given away in between", over_calls),
        Case::good("scale", "multiplier and shift are those of a real counter", scale),
        Case::good("timestamp", "the stamp lies in the past", timestamp),
        Case::good("sleep", "a sleep takes the time that it should", sleep),
        Case::good("padding", "padding is 0", padding),
        Case::good("other-vcpu", "another vcpu's clock shows the same time", other),
        Case::good("wall-clock", "seconds, nanoseconds and version of the wall clock", wall_clock),
        Case::good("wall-clock-rests", "the wall clock does not change by itself", rests),
    ],
);

fn version(t: &mut Trial) -> Verdict {
    let clock = clock::read();
    t.equal("odd", u64::from(clock.version) & 1, 0);
    t.holds("written", clock.version >= 2);
    Ok(())
}

fn monotonic(t: &mut Trial) -> Verdict {
    let mut last = clock::now();
    let mut backwards = 0;
    let first = last;
    for _ in 0..1000 {
        let now = clock::now();
        backwards += u64::from(now < last);
        last = now;
    }
    t.equal("backwards", backwards, 0);
    t.holds("goes-on", last > first);
    Ok(())
}

fn over_calls(t: &mut Trial) -> Verdict {
    let mut last = clock::now();
    let mut backwards = 0;
    for _ in 0..200 {
        yield_now();
        let now = clock::now();
        backwards += u64::from(now <= last);
        last = now;
    }
    t.equal("backwards", backwards, 0);
    Ok(())
}

fn scale(t: &mut Trial) -> Verdict {
    let clock = clock::read();
    t.holds("multiplier", clock.tsc_to_system_mul >= 1 << 31);
    // 100 MHz to 16 GHz.
    let before = clock.system_time_at(clock.tsc_timestamp);
    let after = clock.system_time_at(clock.tsc_timestamp.wrapping_add(1_000_000_000));
    t.holds("frequency", (62_500_000..10_000_000_000).contains(&(after - before)));
    t.holds("starts", before == clock.system_time);
    Ok(())
}

fn timestamp(t: &mut Trial) -> Verdict {
    let clock = clock::read();
    // SAFETY: reading the counter has no effect.
    let now = unsafe { _rdtsc() };
    // Where Xen emulates the counter, the stamp is a negative number in a domain's first second.
    let age = now.wrapping_sub(clock.tsc_timestamp) as i64;
    t.holds("past", age >= 0 && clock.tsc_timestamp != 0);
    // A minute: the hypervisor writes it anew now and then.
    t.holds("recent", clock::now() - clock.system_time < 60_000_000_000);
    Ok(())
}

/// Sleeps until a time: how much later it is then.
fn late(port: &Port, until: u64) -> i64 {
    let ports = [port.number()];
    let mut poll =
        SchedPoll { ports: ports.as_ptr() as u64, nr_ports: 1, timeout: until, ..Default::default() };
    operation(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, &mut poll);
    clock::now() as i64 - until as i64
}

fn sleep(t: &mut Trial) -> Verdict {
    let port = Port::bind()?;
    let mut least = i64::MAX;
    for _ in 0..5 {
        // SAFETY: reading the counter has no effect.
        let before = unsafe { _rdtsc() };
        let late = late(&port, clock::now() + 40_000_000);
        // SAFETY: as above.
        let ticks = unsafe { _rdtsc() } - before;
        t.holds("not-before", late >= 0);
        t.holds("counter", ticks > 1_000_000);
        least = least.min(late);
    }
    t.holds("soon", least < 10_000_000);
    Ok(())
}

fn padding(t: &mut Trial) -> Verdict {
    let clock = clock::read();
    t.equal("pad0", clock.pad0.into(), 0);
    t.same("pad1", clock.pad1, [0, 0]);
    t.equal("flags", u64::from(clock.flags & !1), 0);
    Ok(())
}

extern "C" fn other_clock(_: u64) -> u64 {
    // SAFETY: the shared page; the vcpu runs, so its own clock is written while it is not looked at.
    let clock = unsafe { (&raw const (*vcpu_info(1)).time).read_volatile() };
    // SAFETY: reading the counter has no effect.
    clock.system_time_at(unsafe { _rdtsc() })
}

fn other(t: &mut Trial) -> Verdict {
    if !vcpus::exists(1) {
        return Err(Stop::Skip("the domain has one vcpu"));
    }
    let before = clock::now();
    let caught = vcpus::run(1, other_clock, 0).ok_or(Stop::Error("vcpu 1 goes on and on", 0))?;
    let after = clock::now();
    t.equal("returned", caught.vector, RETURNED);
    // A millisecond for counters that are not quite the same.
    let now = caught.registers[0] + 1_000_000;
    t.holds("between", now >= before && caught.registers[0] <= after + 1_000_000);
    Ok(())
}

/// Version, seconds, nanoseconds, upper half of the seconds.
fn wall() -> [u32; 4] {
    let page = shared();
    // SAFETY: words of the shared page.
    unsafe {
        [
            (&raw const (*page).wc_version).read_volatile(),
            (&raw const (*page).wc_sec).read_volatile(),
            (&raw const (*page).wc_nsec).read_volatile(),
            (&raw const (*page).wc_sec_hi).read_volatile(),
        ]
    }
}

fn wall_clock(t: &mut Trial) -> Verdict {
    let [version, seconds, nanoseconds, high] = wall();
    t.equal("odd", u64::from(version) & 1, 0);
    // 2024 began at 1704067200.
    t.holds("seconds", seconds > 1_704_067_200);
    t.holds("nanoseconds", nanoseconds < 1_000_000_000);
    t.equal("high", high.into(), 0);
    Ok(())
}

fn rests(t: &mut Trial) -> Verdict {
    let before = wall();
    (0..100).for_each(|_| yield_now());
    t.holds("same", wall() == before);
    Ok(())
}
