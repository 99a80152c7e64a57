//! `vcpu_op(cmd, vcpuid, arg)`, call 24 (xen/include/public/vcpu.h): a vcpu of the domain, the caller's or another.
//!
//! Refused: a vcpu that there is not (`ENOENT`, before anything else), an operation that there is not (`ENOSYS`), a struct that cannot
//! be read or written (`EFAULT`).

mod down;
mod get_physid;
mod get_runstate_info;
mod initialise;
mod is_up;
mod register_runstate_memory_area;
mod register_vcpu_info;
mod register_vcpu_time_memory_area;
pub mod send_nmi;
mod set_periodic_timer;
mod set_singleshot_timer;
mod stop_periodic_timer;
mod stop_singleshot_timer;
mod up;

use paravane_abi::errno::Errno;
use paravane_abi::event::VIRQ_TIMER;
use paravane_abi::hypercall::HYPERVISOR_VCPU_OP;
use paravane_abi::vcpu::{VCPUOP_IS_UP, VCPUOP_STOP_PERIODIC_TIMER, VCPUOP_STOP_SINGLESHOT_TIMER};
use pv_probe::hypercall::raw;
use pv_probe::{events, vcpus};

use crate::case::{Case, Row, Stop, Verdict};
use crate::rows::event_channel_op::{NO_VCPU, close_all, got};
use crate::rows::pointers;
use crate::trial::Trial;

/// The rows.
pub const ROWS: &[&Row] = &[
    &ROW,
    &initialise::ROW,
    &up::ROW,
    &down::ROW,
    &is_up::ROW,
    &get_runstate_info::ROW,
    &register_runstate_memory_area::ROW,
    &set_periodic_timer::ROW,
    &stop_periodic_timer::ROW,
    &set_singleshot_timer::ROW,
    &stop_singleshot_timer::ROW,
    &register_vcpu_info::ROW,
    &send_nmi::ROW,
    &get_physid::ROW,
    &register_vcpu_time_memory_area::ROW,
];

const ROW: Row = Row::call(
    "vcpu_op",
    &[
        Case::good("upper-halves", "the upper halves of operation and vcpu mean nothing", upper_halves),
        Case::refusal("no-vcpu", "a vcpu that there is not, for each operation", no_vcpu),
        Case::refusal("unknown", "operations that there are not", unknown),
        Case::refusal("unknown-and-no-vcpu", "the vcpu is looked at first", unknown_no_vcpu),
    ],
);

/// Operations that there are.
const OPERATIONS: u32 = 14;

/// A call.
pub fn call(command: u32, vcpu: u32, address: u64) -> i64 {
    raw(HYPERVISOR_VCPU_OP, [command.into(), vcpu.into(), address, 0, 0])
}

/// The structs that no operation on vcpu 0 can read or write.
fn unusable(t: &mut Trial, command: u32) {
    for (name, address) in pointers::UNUSABLE {
        t.refused(name, Errno::EFAULT, || call(command, 0, address));
    }
}

/// A vcpu that is not initialised, and that a case leaves so.
///
/// # Errors
/// The case is skipped where there is none.
pub fn spare() -> Result<u32, Stop> {
    let spare = |vcpu: &u32| vcpus::exists(*vcpu) && !vcpus::is_initialised(*vcpu);
    let found = (1..vcpus::MAX as u32).rev().find(spare);
    found.ok_or(Stop::Skip("every vcpu of the domain is initialised"))
}

/// The port of vcpu 0's timer, with no timer running, for as long as a case lasts.
///
/// # Errors
/// An end of the case as an error.
pub fn with_timer(t: &mut Trial, run: impl FnOnce(&mut Trial, u32)) -> Verdict {
    for command in [VCPUOP_STOP_PERIODIC_TIMER, VCPUOP_STOP_SINGLESHOT_TIMER] {
        t.need("stop", call(command, 0, 0))?;
    }
    events::settle();
    let port = got("the timer's port", events::bind_virq(VIRQ_TIMER, 0))?;
    run(t, port);
    for command in [VCPUOP_STOP_PERIODIC_TIMER, VCPUOP_STOP_SINGLESHOT_TIMER] {
        t.need("stop", call(command, 0, 0))?;
    }
    close_all(t, &[port]);
    Ok(())
}

fn upper_halves(t: &mut Trial) -> Verdict {
    let arguments = [1 << 32 | u64::from(VCPUOP_IS_UP), 1 << 32, 0, 0, 0];
    t.result("is-up", raw(HYPERVISOR_VCPU_OP, arguments), 1);
    Ok(())
}

fn no_vcpu(t: &mut Trial) -> Verdict {
    let mut argument = [0u64; 8];
    for command in 0..OPERATIONS {
        for vcpu in [NO_VCPU, u32::MAX] {
            let result = call(command, vcpu, argument.as_mut_ptr() as u64);
            t.fails(format_args!("operation-{command}"), result, Errno::ENOENT);
        }
    }
    Ok(())
}

fn unknown(t: &mut Trial) -> Verdict {
    let mut argument = [0u64; 8];
    for (name, command) in [("first", OPERATIONS), ("hundred", 100), ("all-ones", u32::MAX)] {
        t.refused(name, Errno::ENOSYS, || call(command, 0, argument.as_mut_ptr() as u64));
    }
    Ok(())
}

fn unknown_no_vcpu(t: &mut Trial) -> Verdict {
    t.refused("call", Errno::ENOENT, || call(OPERATIONS, NO_VCPU, 0));
    Ok(())
}
