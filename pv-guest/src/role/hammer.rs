//! Hypercalls as fast as they come: cheap ones, refused ones, batches, and address spaces checked and dropped.

use core::ptr;

use paravane_abi::errno::Errno;
use paravane_abi::event::{EVTCHNOP_SEND, EVTCHNOP_STATUS, EvtchnSend, EvtchnStatus};
use paravane_abi::hypercall::HYPERVISOR_XEN_VERSION;
use paravane_abi::mmu::DOMID_SELF;
use paravane_abi::multicall::MulticallEntry;
use paravane_abi::sched::SCHEDOP_YIELD;
use paravane_abi::vcpu::VCPUOP_IS_UP;
use pv_guest_logic::role::Role;

use super::{duration_ns, report, seconds};
use crate::cpu::CpuSet;
use crate::cpu_ops::hypercall::{self, raw_null_hypercall};
use crate::cpu_ops::machine;
use crate::mm::space::AddressSpace;
use crate::time::monotonic_ns;

/// Calls in the batch; each counts as a hypercall.
const BATCH: usize = 8;

/// One kind of call: hypercalls it makes, and whether the answer was the right one.
type Blow = fn() -> (u64, bool);

const BLOWS: [(&str, Blow); 8] = [
    ("version", || (1, raw_null_hypercall() > 0)),
    ("yield", || (1, yield_cpu())),
    ("send", || (1, send_to_nobody())),
    ("status", || (1, port_status())),
    ("is-up", || (1, is_up())),
    ("flush", || {
        machine().flush_all(CpuSet::EMPTY);
        (1, true)
    }),
    ("multicall", batch),
    ("address-space", || {
        // Made read-only, pinned, unpinned, made writable: four calls at least.
        (4, AddressSpace::new().is_ok())
    }),
];

fn yield_cpu() -> bool {
    // SAFETY: yield has no argument.
    unsafe { hypercall::sched_op(SCHEDOP_YIELD, ptr::null_mut()) == 0 }
}

/// A port that no domain has.
fn send_to_nobody() -> bool {
    let mut send = EvtchnSend { port: u32::MAX };
    // SAFETY: the argument lives until the call returns.
    let result = unsafe { hypercall::event_channel_op(EVTCHNOP_SEND, (&raw mut send).cast()) };
    result == -(Errno::EINVAL as i64)
}

fn port_status() -> bool {
    let mut status = EvtchnStatus { dom: DOMID_SELF, port: 1, ..EvtchnStatus::default() };
    // SAFETY: the argument lives until the call returns.
    unsafe { hypercall::event_channel_op(EVTCHNOP_STATUS, (&raw mut status).cast()) == 0 }
}

fn is_up() -> bool {
    // SAFETY: the operation has no argument.
    unsafe { hypercall::vcpu_op(VCPUOP_IS_UP, 0, ptr::null_mut()) == 1 }
}

fn batch() -> (u64, bool) {
    let mut calls = [const { MulticallEntry { op: HYPERVISOR_XEN_VERSION, result: 0, args: [0; 6] } }; BATCH];
    // SAFETY: the calls live until this one returns, and do nothing.
    let result = unsafe { hypercall::multicall(calls.as_mut_ptr(), BATCH as u32) };
    (1 + BATCH as u64, result == 0 && calls.iter().all(|call| call.result as i64 > 0))
}

/// Goes on for 12 s of guest time or `seconds=`.
pub fn run() {
    let start = monotonic_ns();
    let duration = duration_ns(seconds(12));
    let mut calls = 0;
    while duration.is_none_or(|duration| monotonic_ns() - start < duration) {
        for (name, blow) in BLOWS {
            let (made, good) = blow();
            calls += made;
            if !good {
                report(Role::Hammer, false, format_args!("{name}: a wrong answer after {calls} calls"));
                return;
            }
        }
    }
    report(
        Role::Hammer,
        true,
        format_args!("{calls} hypercalls in {} ms", (monotonic_ns() - start) / 1_000_000),
    );
}
