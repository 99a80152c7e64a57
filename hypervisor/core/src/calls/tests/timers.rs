//! Timers, and what a vcpu has registered: its information, its run state, its time.

use super::world::*;
use crate::domain::{RunState, Shutdown};
use crate::hypervisor::Next;
use core::mem::offset_of;
use paravane_abi::errno::Errno;
use paravane_abi::event::*;
use paravane_abi::hypercall::*;
use paravane_abi::sched::SCHEDOP_BLOCK;
use paravane_abi::shared_info::{VcpuInfo, VcpuTimeInfo};
use paravane_abi::vcpu::*;

const MS: u64 = 1_000_000;

/// A kernel that listens to its timer.
fn listening() -> World {
    let mut world = World::new();
    let request = EvtchnBindVirq { virq: VIRQ_TIMER, vcpu: 0, port: 0 };
    assert_eq!(world.op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_VIRQ, &request), 0);
    let port = world.get::<EvtchnBindVirq>(ARG).port;
    assert_eq!(world.op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_UNMASK, &EvtchnUnmask { port }), 0);
    world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_VIRQ, &request, Errno::EEXIST);
    world
}

fn after(world: &mut World, ns: u64) {
    world.hv.machine.now += ns;
    // The machine's timer fires once.
    world.hv.machine.told.armed = None;
    world.hv.timer_interrupt();
}

#[test]
fn a_timer_fires_when_it_is_due() {
    let mut world = listening();
    let now = world.hv.machine.now;
    assert_eq!(world.call(HYPERVISOR_SET_TIMER_OP, &[now + MS]), 0);
    assert_eq!(world.hv.machine.told.armed, Some(MS));
    after(&mut world, MS - 1);
    assert!(!world.upcall().0);
    after(&mut world, 1);
    assert_eq!((world.upcall().0, world.hv.machine.told.armed), (true, None));
    world.clear_pending();
    // The past is now, and 0 is never.
    assert_eq!(world.call(HYPERVISOR_SET_TIMER_OP, &[now]), 0);
    assert!(world.upcall().0);
    world.clear_pending();
    assert_eq!(world.call(HYPERVISOR_SET_TIMER_OP, &[now + 9 * MS]), 0);
    assert_eq!(world.call(HYPERVISOR_SET_TIMER_OP, &[0]), 0);
    assert_eq!(world.hv.machine.told.armed, None);
}

#[test]
fn a_sleeping_vcpu_is_woken_by_its_timer() {
    let mut world = listening();
    let now = world.hv.machine.now;
    let request = VcpuSetSingleshotTimer { timeout_abs_ns: now + MS, flags: 0, pad: 0 };
    assert_eq!(world.vcpu_op(VCPUOP_SET_SINGLESHOT_TIMER, &request), 0);
    assert_eq!(world.call(HYPERVISOR_SCHED_OP, &[SCHEDOP_BLOCK.into(), 0]), 0);
    let mut regs = world.kernel();
    assert_eq!(world.next(&mut regs), Next::Idle);
    after(&mut world, MS);
    assert_eq!(world.next(&mut regs), Next::Guest);
    assert_eq!((regs.rip, world.state()), (EVENT_HANDLER, RunState::Runnable));
    world.clear_pending();
    // A time that has passed fires at once, whatever the flag that once forbade it.
    let request = VcpuSetSingleshotTimer { flags: VCPU_SSHOTTMR_FUTURE, ..request };
    assert_eq!(world.vcpu_op(VCPUOP_SET_SINGLESHOT_TIMER, &request), 0);
    assert!(world.upcall().0);
    world.clear_pending();
    let request = VcpuSetSingleshotTimer { timeout_abs_ns: now + 5 * MS, flags: 0, pad: 0 };
    assert_eq!(world.vcpu_op(VCPUOP_SET_SINGLESHOT_TIMER, &request), 0);
    assert_eq!(world.call(HYPERVISOR_VCPU_OP, &[VCPUOP_STOP_SINGLESHOT_TIMER.into(), 0, 0]), 0);
    assert_eq!(world.hv.machine.told.armed, None);
}

#[test]
fn a_period_repeats() {
    let mut world = listening();
    assert_eq!(world.vcpu_op(VCPUOP_SET_PERIODIC_TIMER, &VcpuSetPeriodicTimer { period_ns: 2 * MS }), 0);
    for _ in 0..3 {
        after(&mut world, 2 * MS);
        assert!(world.upcall().0);
        world.clear_pending();
        assert_eq!(world.hv.machine.told.armed, Some(2 * MS));
    }
    for period_ns in [0, MS - 1, 1 << 62, u64::MAX] {
        world.put(ARG, &period_ns);
        let args = [VCPUOP_SET_PERIODIC_TIMER.into(), 0, ARG];
        world.refused(HYPERVISOR_VCPU_OP, &args, Errno::EINVAL);
    }
    assert_eq!(world.call(HYPERVISOR_VCPU_OP, &[VCPUOP_STOP_PERIODIC_TIMER.into(), 0, 0]), 0);
    assert_eq!(world.hv.machine.told.armed, None);
}

#[test]
fn what_a_vcpu_is_and_is_not_asked() {
    let mut world = World::new();
    assert_eq!(world.call(HYPERVISOR_VCPU_OP, &[VCPUOP_IS_UP.into(), 0, 0]), 1);
    assert_eq!(world.call(HYPERVISOR_VCPU_OP, &[VCPUOP_UP.into(), 0, 0]), 0);
    for (command, error) in [
        (VCPUOP_INITIALISE, Errno::EEXIST),
        (VCPUOP_SEND_NMI, Errno::EINVAL),
        (VCPUOP_GET_PHYSID, Errno::EINVAL),
    ] {
        world.refused(HYPERVISOR_VCPU_OP, &[command.into(), 0, LIST], error);
    }
}

#[test]
fn vcpu_info_moves_once_to_a_page_that_stays_writable() {
    let mut world = World::new();
    world.set_mask(true);
    let register = |mfn, offset| VcpuRegisterVcpuInfo { mfn, offset, rsvd: 0 };
    let own = world.mfn(LIST).get();
    let l1 = world.entry(LIST, crate::addr::Level::L1).0.get();
    let shared = world.vcpu().info;
    for (request, error) in [
        (register(own, 4096 - 63), Errno::ENXIO),
        (register(own, 4096 - 56), Errno::ENXIO),
        (register(own, 1), Errno::ENXIO),
        (register(own, u32::MAX), Errno::ENXIO),
        (register(l1, 0), Errno::EINVAL),
        (register(1, 0), Errno::EINVAL),
        (register(1 << 40, 0), Errno::EINVAL),
        (register(u64::MAX, 0), Errno::EINVAL),
    ] {
        world.put(ARG, &request);
        world.refused(HYPERVISOR_VCPU_OP, &[VCPUOP_REGISTER_VCPU_INFO.into(), 0, ARG], error);
    }
    let time: VcpuTimeInfo = world.hv.clock.time_info(0);
    assert_eq!(world.vcpu_op(VCPUOP_REGISTER_VCPU_INFO, &register(own, 4096 - 64)), 0);
    let info: VcpuInfo = world.get(LIST + 4096 - 64);
    assert_eq!((info.evtchn_upcall_pending, info.evtchn_upcall_mask), (1, 1), "look at everything once");
    assert_eq!((info.evtchn_pending_sel, info.time.tsc_to_system_mul), (u64::MAX, time.tsc_to_system_mul));
    world.audit();
    assert_ne!(world.vcpu().info, shared);
    world.put(ARG, &register(own, 0));
    world.refused(HYPERVISOR_VCPU_OP, &[VCPUOP_REGISTER_VCPU_INFO.into(), 0, ARG], Errno::EINVAL);
    // It is the hypervisor's to write, so it can be no table, even when nothing maps it.
    world.map(LIST, 0);
    let mut regs = world.program();
    assert_eq!(world.next(&mut regs), Next::Guest);
    assert_eq!(regs.rip, EVENT_HANDLER, "events are looked for in the new place");
    let pin = paravane_abi::mmu::MmuextOp { cmd: 0, pad: 0, arg1: own, arg2: 0 };
    world.put(ARG, &pin);
    assert!(world.call(HYPERVISOR_MMUEXT_OP, &[ARG, 1, 0, 0x7ff0]) < 0);
    world.audit();
}

#[test]
fn run_states_are_told_where_asked() {
    let mut world = listening();
    let args = [VCPUOP_GET_RUNSTATE_INFO.into(), 0, ARG];
    assert_eq!(world.call(HYPERVISOR_VCPU_OP, &args), 0);
    assert_eq!(world.get::<VcpuRunstateInfo>(ARG).state, RUNSTATE_RUNNING);
    assert_eq!(world.vcpu_op(VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, &LIST), 0);
    let before: VcpuRunstateInfo = world.get(LIST);
    let now = world.hv.machine.now;
    assert_eq!(world.call(HYPERVISOR_SET_TIMER_OP, &[now + MS]), 0);
    assert_eq!(world.call(HYPERVISOR_SCHED_OP, &[SCHEDOP_BLOCK.into(), 0]), 0);
    let mut regs = world.kernel();
    assert_eq!(world.next(&mut regs), Next::Idle);
    assert_eq!(world.get::<VcpuRunstateInfo>(LIST).state, RUNSTATE_BLOCKED);
    after(&mut world, MS);
    assert_eq!(world.next(&mut regs), Next::Guest);
    let info: VcpuRunstateInfo = world.get(LIST);
    assert_eq!((info.state, info.state_entry_time), (RUNSTATE_RUNNING, now + MS));
    assert_eq!(info.time[2] - before.time[2], MS);

    // One that can never be written is refused; one that cannot be written now is not.
    for area in [BAD[3], BAD[4], BAD[5], u64::MAX - 8, (1 << 47) - 8] {
        for command in [VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA] {
            world.put(ARG, &area);
            world.refused(HYPERVISOR_VCPU_OP, &[command.into(), 0, ARG], Errno::EFAULT);
        }
    }
    for area in [HOLE, READ_ONLY, HOLE - 8, 0] {
        assert_eq!(world.vcpu_op(VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA, &area), 0);
        assert_eq!(world.call(HYPERVISOR_SCHED_OP, &[SCHEDOP_BLOCK.into(), 0]), 0);
        world.next(&mut regs);
    }
    assert!(!world.crashed());
}

#[test]
fn the_run_state_of_a_vcpu_that_is_down_is_told_at_once() {
    let mut world = World::configured(1, |config| config.vcpus = 2);
    world.put(ARG, &LIST);
    let args = [VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA.into(), 1, ARG];
    assert_eq!(world.call(HYPERVISOR_VCPU_OP, &args), 0);
    assert_eq!(world.get::<VcpuRunstateInfo>(LIST).state, RUNSTATE_OFFLINE);
}

#[test]
fn time_is_told_where_asked() {
    let mut world = World::new();
    assert_eq!(world.vcpu_op(VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA, &LIST), 0);
    let time: VcpuTimeInfo = world.get(LIST);
    assert_eq!((time.version & 1, time), (0, world.hv.clock.time_info(0)));
    let shared: VcpuTimeInfo = world
        .memory()
        .read_frame(world.vcpu().info.frame, world.vcpu().info.offset + offset_of!(VcpuInfo, time))
        .unwrap();
    assert_eq!(shared.system_time_at(5_000_000), time.system_time_at(5_000_000));
}

#[test]
fn a_domain_that_has_stopped_has_no_timers_served() {
    let mut world = World::new();
    let period = VcpuSetPeriodicTimer { period_ns: 1_000_000 };
    assert_eq!(world.vcpu_op(VCPUOP_SET_PERIODIC_TIMER, &period), 0);
    assert!(world.hv.machine.told.armed.is_some());
    world.hv.stop_domain(0, Shutdown::Crash);
    let timers = world.vcpu().timers;
    after(&mut world, 10 * MS);
    assert_eq!((world.hv.machine.told.armed, world.vcpu().timers), (None, timers));
}
