//! When events are delivered, to whom, and what waits for them.

use super::world::*;
use crate::build::tests::BASE;
use crate::descriptor::{RING1_CS64, USER_CS32, USER_CS64, USER_SS};
use crate::domain::{RunState, Shutdown};
use crate::hypervisor::{Leave, Next};
use core::mem::offset_of;
use paravane_abi::console::XenconsInterface;
use paravane_abi::errno::Errno;
use paravane_abi::event::*;
use paravane_abi::hypercall::*;
use paravane_abi::regs::CpuUserRegs;
use paravane_abi::sched::*;
use paravane_abi::start_info::StartInfo;
use paravane_abi::vcpu::*;

const SELF: u16 = 0x7ff0;
const NOT_PRESENT: u32 = 11;

/// A port that raises an event on the vcpu itself.
fn ipi(world: &mut World) -> u32 {
    assert_eq!(
        world.op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_IPI, &EvtchnBindIpi { vcpu: 0, port: 0 }),
        0
    );
    let port = world.get::<EvtchnBindIpi>(ARG).port;
    assert_eq!(world.op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_UNMASK, &EvtchnUnmask { port }), 0);
    port
}

fn send(world: &mut World, port: u32) {
    assert_eq!(world.op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_SEND, &EvtchnSend { port }), 0);
}

/// An event is pending, and the kernel's mask is as given.
fn pending(masked: bool) -> World {
    let mut world = World::new();
    world.set_mask(masked);
    let port = ipi(&mut world);
    send(&mut world, port);
    assert_eq!(world.upcall(), (true, masked));
    world
}

#[test]
fn an_unmasked_kernel_takes_its_event_masked() {
    let mut world = pending(false);
    let before = world.kernel();
    let mut regs = before;
    assert_eq!(world.next(&mut regs), Next::Guest);
    assert_eq!((regs.rip, regs.cs, regs.rsp), (EVENT_HANDLER, RING1_CS64, STACK - 56));
    let frame = [before.rcx, before.r11, before.rip, RING1_CS64.into(), 0x202, before.rsp, before.ss.into()];
    assert_eq!(world.bounced(&regs, 7), frame);
    assert_eq!(world.upcall(), (true, true));
    assert_eq!(world.hv.counters.events_delivered, 1);
    assert!(!world.hv.machine.told.user_code_hidden, "it is being taken");
}

#[test]
fn a_masked_kernel_is_left_alone_until_it_returns_to_its_program() {
    let mut world = pending(true);
    let before = world.kernel();
    let mut regs = before;
    assert_eq!(world.next(&mut regs), Next::Guest);
    assert_eq!(regs, before);
    assert!(world.hv.machine.told.user_code_hidden);
    // Nothing pending any more: the way is open again.
    world.clear_pending();
    assert_eq!(world.next(&mut regs), Next::Guest);
    assert!(!world.hv.machine.told.user_code_hidden && regs == before);
}

#[test]
fn a_program_always_takes_events() {
    for masked in [false, true] {
        let mut world = pending(masked);
        let before = world.program();
        let mut regs = before;
        assert_eq!(world.next(&mut regs), Next::Guest);
        assert_eq!((regs.rip, regs.cs, regs.rsp), (EVENT_HANDLER, RING1_CS64, KERNEL_SP - 56));
        let cs = u64::from(USER_CS64) | u64::from(masked) << 32;
        let flags = if masked { 2 } else { 0x202 };
        assert_eq!(world.bounced(&regs, 7)[2..], [before.rip, cs, flags, before.rsp, USER_SS.into()]);
        assert_eq!(world.upcall(), (true, true));
    }
}

/// The kernel's own `iretq`, with this frame, while an event waits.
fn iretq(world: &mut World, frame: [u64; 5], error_code: u32) -> CpuUserRegs {
    let mut regs = world.kernel();
    assert_eq!(world.next(&mut regs), Next::Guest);
    world.put(regs.rip, &[0x48u8, 0xcf]);
    regs.rsp = STACK - 40;
    world.put(regs.rsp, &frame);
    world.exception(regs, NOT_PRESENT, error_code, 0)
}

/// GS can name ring 3's code segments too: loaded while they are marked not present, they would fault in ring 0.
#[test]
fn gs_takes_a_code_segment_while_an_event_waits() {
    for selector in [USER_CS64, USER_CS32] {
        let mut world = pending(true);
        let mut regs = world.kernel();
        assert_eq!(world.next(&mut regs), Next::Guest);
        assert!(world.hv.machine.told.user_code_hidden);
        let arguments = [SEGBASE_GS_USER_SEL.into(), selector.into()];
        assert_eq!(world.call(HYPERVISOR_SET_SEGMENT_BASE, &arguments), 0);
        assert_eq!(world.hv.machine.told.user_gs, selector);
        assert_eq!(world.next(&mut regs), Next::Guest);
        assert!(world.hv.machine.told.user_code_hidden, "the event still waits");
    }
}

#[test]
fn a_return_to_a_program_is_completed_and_then_interrupted() {
    for (cs, error_code, rip) in [(USER_CS64, 0xe030, USER + 0x10), (USER_CS32, 0xe020, 0x1000)] {
        let mut world = pending(true);
        let to = [rip, cs.into(), 0x246, USER + 0x400, USER_SS.into()];
        let mut regs = iretq(&mut world, to, error_code);
        assert_eq!((regs.rip, regs.cs, regs.rflags, regs.rsp, regs.ss), (to[0], cs, 0x246, to[3], USER_SS));
        assert_eq!(regs.rax, world.kernel().rax);
        assert_eq!(world.next(&mut regs), Next::Guest);
        assert_eq!((regs.rip, regs.rsp), (EVENT_HANDLER, KERNEL_SP - 56));
        let frame = world.bounced(&regs, 7);
        assert_eq!(frame[2..], [to[0], u64::from(cs) | 1 << 32, 0x46, to[3], USER_SS.into()]);
        assert!(!world.crashed() && !world.hv.machine.told.user_code_hidden);
    }
}

#[test]
fn a_return_the_processor_would_refuse_is_refused_as_it_would() {
    const GP: u64 = HANDLER + 16 * 13;
    for (frame, code) in [
        // Not canonical; a stack of ring 1; the hypervisor's stack; none.
        ([1 << 47, 0xe033, 2, USER, 0xe02b], 0),
        ([USER, 0xe033, 2, USER, 0xe071], 0xe070),
        ([USER, 0xe033, 2, USER, 0xe010], 0xe010),
        ([USER, 0xe033, 2, USER, 0], 0),
        ([1 << 32, 0xe023, 2, USER, 0xe02b], 0),
    ] {
        let mut world = pending(true);
        let error = if frame[1] == 0xe023 { 0xe020 } else { 0xe030 };
        let regs = iretq(&mut world, frame, error);
        assert_eq!((regs.rip, regs.cs), (GP, RING1_CS64), "{frame:x?}");
        assert_eq!(world.bounced(&regs, 8)[2..4], [code, CODE + 0x100]);
    }
}

#[test]
fn other_segments_that_are_not_present_are_the_kernels_affair() {
    let np = HANDLER + 16 * u64::from(NOT_PRESENT);
    // Nothing waits, so the hypervisor has not hidden anything.
    let mut world = World::new();
    world.set_mask(true);
    let regs = iretq(&mut world, [USER, 0xe033, 2, USER, 0xe02b], 0xe030);
    assert_eq!((regs.rip, world.bounced(&regs, 3)[2]), (np, 0xe030));
    // Another selector; another instruction.
    let mut world = pending(true);
    let regs = iretq(&mut world, [USER, 0x33, 2, USER, 0xe02b], 0x30);
    assert_eq!(regs.rip, np);
    let mut world = pending(true);
    let mut regs = world.kernel();
    world.next(&mut regs);
    world.put(regs.rip, &[0x48u8, 0xcb]);
    assert_eq!(world.exception(regs, NOT_PRESENT, 0xe030, 0).rip, np);
    // A frame that ends where nothing is mapped is a page fault, as for the processor.
    let mut world = pending(true);
    let mut regs = world.kernel();
    world.next(&mut regs);
    world.put(regs.rip, &[0x48u8, 0xcf]);
    regs.rsp = HOLE - 16;
    let after = world.exception(regs, NOT_PRESENT, 0xe030, 0);
    assert_eq!(after.rip, HANDLER + 16 * 14);
    assert_eq!(world.hv.shared().cr2(world.vcpu().info), HOLE);
}

#[test]
fn blocking_unmasks_and_sleeps_unless_an_event_waits() {
    let mut world = World::new();
    world.set_mask(true);
    assert_eq!(world.call(HYPERVISOR_SCHED_OP, &[SCHEDOP_BLOCK.into(), 0]), 0);
    assert_eq!((world.state(), world.upcall()), (RunState::Blocked, (false, false)));
    let mut regs = world.kernel();
    let before = regs;
    assert_eq!(world.next(&mut regs), Next::Idle);
    assert_eq!(regs, before);

    let mut world = pending(true);
    assert_eq!(world.call(HYPERVISOR_SCHED_OP, &[SCHEDOP_BLOCK.into(), 0]), 0);
    assert_eq!((world.state(), world.upcall()), (RunState::Runnable, (true, false)));
    assert_eq!(world.next(&mut regs), Next::Guest);
    assert_eq!(regs.rip, EVENT_HANDLER);
}

fn poll(nr_ports: u32, timeout: u64) -> SchedPoll {
    SchedPoll { ports: LIST, nr_ports, pad: 0, timeout }
}

#[test]
fn a_poll_ends_with_its_port_or_its_time() {
    let mut world = World::new();
    world.set_mask(true);
    let port = ipi(&mut world);
    world.put(LIST, &[port]);
    let now = world.hv.machine.now;
    assert_eq!(world.op(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, &poll(1, now + 500)), 0);
    assert_eq!((world.state(), world.hv.machine.told.armed), (RunState::Blocked, Some(500)));
    let mut regs = world.kernel();
    assert_eq!(world.next(&mut regs), Next::Idle);
    world.hv.machine.now = now + 499;
    world.hv.timer_interrupt();
    assert_eq!(world.next(&mut regs), Next::Idle);
    world.hv.machine.now = now + 500;
    world.hv.timer_interrupt();
    assert_eq!((world.next(&mut regs), world.state()), (Next::Guest, RunState::Runnable));
    assert_eq!(world.upcall(), (false, true), "time makes no event");
    // A time that has passed is no wait at all.
    assert_eq!(world.op(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, &poll(1, now)), 0);
    assert_eq!(world.state(), RunState::Runnable);
    // Nor is a port that is pending.
    send(&mut world, port);
    assert_eq!(world.op(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, &poll(1, 0)), 0);
    assert_eq!((world.state(), world.vcpu().poll), (RunState::Runnable, None));
}

#[test]
fn the_time_of_an_ended_poll_is_not_the_next_ones() {
    let mut world = World::new();
    world.set_mask(true);
    let port = ipi(&mut world);
    world.put(LIST, &[port]);
    let now = world.hv.machine.now;
    assert_eq!(world.op(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, &poll(1, now + 500)), 0);
    send(&mut world, port);
    assert_eq!(world.state(), RunState::Runnable);
    world.clear_pending();
    assert_eq!(world.op(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, &poll(1, 0)), 0);
    world.hv.machine.now = now + 1000;
    world.hv.timer_interrupt();
    assert_eq!(world.state(), RunState::Blocked);
}

#[test]
fn polls_that_make_no_sense_are_refused() {
    let mut world = World::new();
    world.set_mask(true);
    world.put(LIST, &[0xffff_ffffu32; 129]);
    for (request, error) in [
        (poll(129, 0), Errno::EINVAL),
        (poll(u32::MAX, 0), Errno::EINVAL),
        (poll(1, 0), Errno::EINVAL),
        (SchedPoll { ports: HOLE - 4, ..poll(2, 0) }, Errno::EFAULT),
        (SchedPoll { ports: BAD[3], ..poll(1, 0) }, Errno::EFAULT),
    ] {
        world.op_refused(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, &request, error);
    }
    // What can be delivered at once ends a poll before its ports are looked at.
    let mut world = pending(false);
    assert_eq!(world.op(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, &SchedPoll { ports: HOLE, ..poll(2, 0) }), 0);
}

#[test]
fn a_stopped_domain_leaves_as_it_asked() {
    for (reason, leave) in [
        (SHUTDOWN_POWEROFF, Leave::PowerOff),
        (SHUTDOWN_REBOOT, Leave::Reboot),
        (SHUTDOWN_SUSPEND, Leave::PowerOff),
        (SHUTDOWN_CRASH, Leave::Crash),
        (SHUTDOWN_WATCHDOG, Leave::Crash),
        (SHUTDOWN_SOFT_RESET, Leave::Reboot),
        (6, Leave::Crash),
        (0x100, Leave::PowerOff),
    ] {
        let mut world = World::new();
        world.put(ARG, &reason);
        let mut regs = world.regs_for(HYPERVISOR_SCHED_OP, &[SCHEDOP_SHUTDOWN.into(), ARG]);
        world.hv.hypercall(&mut regs);
        assert_eq!(world.end(&mut regs), leave, "{reason}");
    }
    let mut world = World::with_domains(2);
    world.set_up();
    for (domain_id, error) in [(2, Errno::EPERM), (1, Errno::EPERM), (9, Errno::ESRCH), (SELF, Errno::ESRCH)]
    {
        let request = SchedRemoteShutdown { domain_id, pad: 0, reason: 0 };
        world.op_refused(HYPERVISOR_SCHED_OP, SCHEDOP_REMOTE_SHUTDOWN, &request, error);
    }
    assert_eq!(world.op(HYPERVISOR_SCHED_OP, SCHEDOP_SHUTDOWN_CODE, &77u32), 0);
    world.refused(HYPERVISOR_SCHED_OP, &[SCHEDOP_PIN_OVERRIDE.into(), ARG], Errno::EPERM);
    // The only vcpu going down is the domain's end.
    assert_eq!(world.call(HYPERVISOR_VCPU_OP, &[VCPUOP_DOWN.into(), 0, 0]), 0);
    let mut regs = world.kernel();
    while world.next(&mut regs) == Next::Work {}
    assert_eq!((world.hv.domains.len(), world.hv.domains[0].id.0), (1, 2));
    world.hv.stop_domain(0, Shutdown::PowerOff);
    assert_eq!(world.end(&mut regs), Leave::PowerOff);
}

#[test]
fn ports_of_other_domains_are_reached_only_when_offered() {
    let mut world = World::with_domains(2);
    world.set_up();
    let offer = |world: &mut World, remote_dom| {
        let request = EvtchnAllocUnbound { dom: SELF, remote_dom, port: 0 };
        assert_eq!(world.op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, &request), 0);
        world.get::<EvtchnAllocUnbound>(ARG).port
    };
    let (to_other, to_self) = (offer(&mut world, 2), offer(&mut world, SELF));
    let connect =
        |remote_dom, remote_port| EvtchnBindInterdomain { remote_dom, pad: 0, remote_port, local_port: 0 };
    for (dom, port, error) in
        [(9, 1, Errno::ESRCH), (2, 3, Errno::EINVAL), (SELF, to_other, Errno::EINVAL), (2, 0, Errno::EINVAL)]
    {
        let request = connect(dom, port);
        world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, &request, error);
    }
    let local = connect(SELF, to_self);
    assert_eq!(world.op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, &local), 0);
    let (ports, bits) = world.hv.events(1);
    let there = ports.alloc_unbound(&bits, crate::addr::DomainId(1)).unwrap();
    assert_eq!(world.op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, &connect(2, there)), 0);
    let here = world.get::<EvtchnBindInterdomain>(ARG).local_port;
    send(&mut world, here);
    let bits = crate::domain::Bits::of(&world.hv.frames, &world.hv.machine, &world.hv.domains[1]);
    assert!(crate::event::SharedBits::is_pending(&bits, there));
    let status = |dom, port| EvtchnStatus { dom, port, ..Default::default() };
    assert_eq!(world.op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_STATUS, &status(SELF, here)), 0);
    assert_eq!((world.get::<EvtchnStatus>(ARG).status, world.get::<EvtchnStatus>(ARG).u), (2, [2, there]));
    for (dom, error) in [(2, Errno::EPERM), (9, Errno::ESRCH)] {
        world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_STATUS, &status(dom, 1), error);
        let request = EvtchnReset { dom };
        world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_RESET, &request, error);
        let request = EvtchnAllocUnbound { dom, remote_dom: 1, port: 0 };
        world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, &request, error);
    }
    world.op_refused(
        HYPERVISOR_EVENT_CHANNEL_OP,
        EVTCHNOP_BIND_PIRQ,
        &EvtchnBindPirq { pirq: 1, flags: 0, port: 0 },
        Errno::EPERM,
    );
    for _ in 0..100 {
        ipi(&mut world);
    }
    assert_eq!(world.op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_RESET, &EvtchnReset { dom: SELF }), 0);
    assert_eq!(world.preempted, 1, "a hundred ports take more than a step");
    assert_eq!(world.op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_STATUS, &status(SELF, here)), 0);
    assert_eq!(world.get::<EvtchnStatus>(ARG).status, 0);
}

#[test]
fn the_console_goes_both_ways() {
    let mut world = World::new();
    let port = world.domain().console.port;
    let frame = world.domain().console.frame;
    let info: StartInfo = world.get(world.vcpu().regs.rsi);
    assert_eq!((info.console_mfn, info.console_evtchn), (frame.get(), port));
    let page = (0..1024).map(|pfn| BASE + (pfn << 12)).find(|va| world.mfn(*va) == frame).unwrap();
    let at = |offset: usize| page + offset as u64;
    world.put(at(offset_of!(XenconsInterface, output)), b"hello\n");
    world.put(at(offset_of!(XenconsInterface, out_prod)), &6u32);
    assert_eq!(world.op(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_UNMASK, &EvtchnUnmask { port }), 0);
    send(&mut world, port);
    assert_eq!(world.hv.machine.told.output, b"hello\n");
    assert_eq!(world.get::<u32>(at(offset_of!(XenconsInterface, out_cons))), 6);
    assert!(world.upcall().0, "there is room again");
    world.clear_pending();
    world.hv.machine.input.extend(b"ls\n");
    world.hv.console_interrupt();
    assert_eq!(world.get::<[u8; 3]>(at(offset_of!(XenconsInterface, input))), *b"ls\n");
    assert_eq!(world.get::<u32>(at(offset_of!(XenconsInterface, in_prod))), 3);
    assert!(world.upcall().0);
    // Indices that make no sense move nothing, and what is typed meanwhile is kept, to a limit.
    world.put(at(offset_of!(XenconsInterface, out_prod)), &9_000u32);
    world.put(at(offset_of!(XenconsInterface, in_prod)), &9_000u32);
    world.hv.machine.input.extend([b'x'; 3000]);
    world.hv.console_interrupt();
    assert_eq!(world.hv.machine.told.output, b"hello\n");
    assert_eq!(world.hv.typed.len(), crate::guest::TYPED_MAX);
    // The kernel's first words come by hypercall, in steps.
    world.put(LIST, &[b'y'; 600]);
    world.hv.machine.told.output.clear();
    assert_eq!(world.call(HYPERVISOR_CONSOLE_IO, &[0, 600, LIST]), 0);
    assert_eq!((world.hv.machine.told.output.len(), world.preempted), (600, 2));
    assert_eq!(world.call(HYPERVISOR_CONSOLE_IO, &[0, 0, BAD[0]]), 0);
    world.refused(HYPERVISOR_CONSOLE_IO, &[0, 1 << 31, LIST], Errno::EINVAL);
    world.refused(HYPERVISOR_CONSOLE_IO, &[1, 1, LIST], Errno::EPERM);
}
