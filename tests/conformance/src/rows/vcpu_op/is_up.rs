//! `VCPUOP_is_up` (vcpu.h): 1 for a vcpu that may run, 0 for another.

use paravane_abi::vcpu::VCPUOP_IS_UP;
use pv_probe::guard::RETURNED;
use pv_probe::vcpus;

use super::{call, spare};
use crate::case::{Case, Row, Stop, Verdict};
use crate::rows::event_channel_op::needs_vcpu;
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "vcpu_op",
    "is_up",
    &[
        Case::good("caller", "who asks is up", caller),
        Case::good("not-initialised", "a vcpu that is not initialised is down", not_initialised),
        Case::good("running", "another vcpu while it runs, and when it is down", running),
    ],
)
.no_refusal("every vcpu of the domain can be asked for");

fn caller(t: &mut Trial) -> Verdict {
    t.result("is-up", call(VCPUOP_IS_UP, 0, 0), 1);
    Ok(())
}

fn not_initialised(t: &mut Trial) -> Verdict {
    t.result("is-up", call(VCPUOP_IS_UP, spare()?, 0), 0);
    Ok(())
}

/// Asks for its own vcpu.
extern "C" fn ask(number: u64) -> u64 {
    call(VCPUOP_IS_UP, number as u32, 0) as u64
}

fn running(t: &mut Trial) -> Verdict {
    needs_vcpu(1)?;
    let end = vcpus::run(1, ask, 1).ok_or(Stop::Error("vcpu 1 goes on and on", 0))?;
    t.same("by-itself", (end.vector, end.registers[0]), (RETURNED, 1));
    t.result("afterwards", call(VCPUOP_IS_UP, 1, 0), 0);
    let end = vcpus::run(1, ask, 0).ok_or(Stop::Error("vcpu 1 goes on and on", 0))?;
    t.equal("vcpu-0", end.registers[0], 1);
    Ok(())
}
