//! `hvm_op(get_time, answer)`, sub-operation 10 (xen/include/public/hvm/hvm_op.h, `struct xen_hvm_get_time`): system time in
//! nanoseconds, for any domain.
//!
//! Refused: answers that cannot be written (`EFAULT`).

use core::arch::x86_64::_rdtsc;

use paravane_abi::hvm::HVMOP_GET_TIME;
use paravane_abi::shared_info::VcpuTimeInfo;
use pv_probe::memory::vcpu_info;

use super::ask;
use crate::case::{Case, Row, Verdict};
use crate::rows::refusals;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "hvm_op",
    "get_time",
    &[
        Case::good("clock", "the time that the vcpu's clock shows", clock),
        Case::good("grows", "time goes on", grows),
        Case::refusal("pointers", "answers that cannot be written", |t| {
            refusals::pointers(t, ask(HVMOP_GET_TIME))
        }),
    ],
);

/// What the clock may be off by, in nanoseconds: it is read before and after.
const NEAR: u64 = 1_000_000;

fn time() -> (i64, u64) {
    let mut now = 0u64;
    let result = ask(HVMOP_GET_TIME)(&raw mut now as u64);
    (result, now)
}

/// System time by the clock in the vcpu's part of the shared page.
fn shown() -> u64 {
    loop {
        // SAFETY: a part of the shared page, of plain numbers; its version tells whether they belong together.
        let clock: VcpuTimeInfo = unsafe { (&raw const (*vcpu_info(0)).time).read_volatile() };
        // SAFETY: reads a counter.
        let passed = unsafe { _rdtsc() }.wrapping_sub(clock.tsc_timestamp);
        // SAFETY: as above.
        let after: VcpuTimeInfo = unsafe { (&raw const (*vcpu_info(0)).time).read_volatile() };
        if clock.version == after.version && clock.version & 1 == 0 {
            let shift = clock.tsc_shift;
            let scaled = if shift < 0 { passed >> -shift } else { passed << shift };
            let nanoseconds = (u128::from(scaled) * u128::from(clock.tsc_to_system_mul)) >> 32;
            return clock.system_time.wrapping_add(nanoseconds as u64);
        }
    }
}

fn clock(t: &mut Trial) -> Verdict {
    let before = shown();
    let (result, now) = time();
    let after = shown();
    t.succeeds("told", result);
    t.holds("not-before", now + NEAR >= before);
    t.holds("not-after", now <= after + NEAR);
    Ok(())
}

fn grows(t: &mut Trial) -> Verdict {
    let (_, first) = time();
    let mut last = first;
    for _ in 0..1000 {
        let (_, now) = time();
        if now < last {
            t.holds("never-back", false);
        }
        last = now;
    }
    t.holds("goes-on", last > first);
    Ok(())
}
