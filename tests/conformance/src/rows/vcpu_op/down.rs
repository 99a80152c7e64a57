//! `VCPUOP_down` (vcpu.h): a vcpu runs no more until it is brought up again. The last one that goes down ends the domain.

use paravane_abi::vcpu::VCPUOP_DOWN;
use pv_probe::time::{self, MILLISECOND};
use pv_probe::vcpus;

use core::sync::atomic::{AtomicU64, Ordering};

use super::{call, spare};
use crate::case::{Case, Row, Stop, Verdict};
use crate::rows::event_channel_op::needs_vcpu;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "vcpu_op",
    "down",
    &[
        Case::good("stops", "another vcpu in the middle of its work, which then goes on", stops),
        Case::good("not-initialised", "a vcpu that is not initialised is down already", not_initialised),
    ],
)
.no_refusal("every vcpu of the domain can be stopped");

static STEPS: AtomicU64 = AtomicU64::new(0);

/// Counts until it is told to end.
extern "C" fn count(_: u64) -> u64 {
    loop {
        let steps = STEPS.fetch_add(1, Ordering::SeqCst);
        if steps >= 1 << 62 {
            return 7;
        }
    }
}

fn stops(t: &mut Trial) -> Verdict {
    needs_vcpu(1)?;
    STEPS.store(0, Ordering::SeqCst);
    vcpus::start(1, count, 0);
    t.succeeds("down", call(VCPUOP_DOWN, 1, 0));
    t.holds("is-down", !vcpus::is_up(1));
    // A processor may take a moment to hear of it.
    time::wait(20 * MILLISECOND);
    let stopped_at = STEPS.load(Ordering::SeqCst);
    time::wait(5 * MILLISECOND);
    t.holds("stands-still", STEPS.load(Ordering::SeqCst) == stopped_at);
    t.succeeds("up", vcpus::up(1));
    let moves = (0..1000).any(|_| {
        time::wait(MILLISECOND);
        STEPS.load(Ordering::SeqCst) != stopped_at
    });
    t.holds("goes-on", moves);
    STEPS.store(1 << 62, Ordering::SeqCst);
    let end = vcpus::finish(1).ok_or(Stop::Error("vcpu 1 goes on and on", 0))?;
    t.equal("result", end.registers[0], 7);
    Ok(())
}

fn not_initialised(t: &mut Trial) -> Verdict {
    let vcpu = spare()?;
    let result = t.unchanged("down", || call(VCPUOP_DOWN, vcpu, 0));
    t.succeeds("down", result);
    t.holds("is-down", !vcpus::is_up(vcpu));
    Ok(())
}
