//! `VCPUOP_get_runstate_info` (vcpu.h, `struct vcpu_runstate_info`): what a vcpu does, since when, and how long it has been in each of
//! four states.
//!
//! Refused: a struct that cannot be written (`EFAULT`).

use paravane_abi::hypercall::HYPERVISOR_SCHED_OP;
use paravane_abi::sched::{SCHEDOP_POLL, SchedPoll};
use paravane_abi::vcpu::{
    RUNSTATE_BLOCKED, RUNSTATE_OFFLINE, RUNSTATE_RUNNING, VCPUOP_GET_RUNSTATE_INFO, VcpuRunstateInfo,
};
use pv_probe::hypercall::{raw, vcpu_operation};
use pv_probe::time::{self, MILLISECOND, SLACK};

use super::{spare, unusable};
use crate::case::{Case, Row, Verdict};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "vcpu_op",
    "get_runstate_info",
    &[
        Case::good("running", "the caller runs, since a time that has passed", running),
        Case::good("grows", "the time of running grows by what passes", grows),
        Case::good("adds-up", "the four times are the vcpu's age", adds_up),
        Case::good("not-initialised", "a vcpu that is not initialised is offline", not_initialised),
        Case::good("sleeping", "time asleep is booked as blocked", sleeping),
        Case::refusal("pointers", "structs that cannot be written", |t| {
            unusable(t, VCPUOP_GET_RUNSTATE_INFO);
            Ok(())
        }),
    ],
);

/// What a vcpu does.
pub fn info(t: &mut Trial, vcpu: u32) -> Result<VcpuRunstateInfo, crate::case::Stop> {
    let mut info = VcpuRunstateInfo { state: 99, ..Default::default() };
    t.need("get", vcpu_operation(VCPUOP_GET_RUNSTATE_INFO, vcpu, &mut info))?;
    Ok(info)
}

fn running(t: &mut Trial) -> Verdict {
    let info = info(t, 0)?;
    t.equal("state", info.state.into(), RUNSTATE_RUNNING.into());
    t.holds("since", info.state_entry_time <= time::now() && info.state_entry_time > 0);
    Ok(())
}

fn grows(t: &mut Trial) -> Verdict {
    let before = info(t, 0)?;
    let end = time::now() + 5 * MILLISECOND;
    // Without giving the processor away.
    while time::now() < end {}
    let after = info(t, 0)?;
    t.holds("grown", after.time[0] >= before.time[0] + MILLISECOND);
    Ok(())
}

fn adds_up(t: &mut Trial) -> Verdict {
    let first = info(t, 0)?;
    let start = time::now();
    time::wait(5 * MILLISECOND);
    let second = info(t, 0)?;
    let passed = time::now() - start;
    let sum = |info: &VcpuRunstateInfo| info.time.iter().sum::<u64>();
    let aged = sum(&second) - sum(&first);
    t.holds("aged", aged >= 4 * MILLISECOND && aged <= passed + 20 * MILLISECOND);
    Ok(())
}

fn not_initialised(t: &mut Trial) -> Verdict {
    let vcpu = spare()?;
    let info = info(t, vcpu)?;
    t.equal("state", info.state.into(), RUNSTATE_OFFLINE.into());
    t.equal("has-run", info.time[RUNSTATE_RUNNING as usize], 0);
    Ok(())
}

fn sleeping(t: &mut Trial) -> Verdict {
    let place = RUNSTATE_BLOCKED as usize;
    let before = info(t, 0)?.time[place];
    pv_probe::events::settle();
    let end = time::now() + 3 * SLACK;
    let request = SchedPoll { timeout: end, ..Default::default() };
    let arguments = [SCHEDOP_POLL.into(), &raw const request as u64, 0, 0, 0];
    // Any event of the domain's ends such a poll.
    while time::now() < end {
        t.need("sleep", raw(HYPERVISOR_SCHED_OP, arguments))?;
    }
    let after = info(t, 0)?.time[place];
    t.holds("booked", after >= before + SLACK);
    Ok(())
}
