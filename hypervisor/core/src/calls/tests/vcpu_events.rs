//! Events of a domain with several vcpus, of which only the first is up.

use super::world::*;
use crate::domain::RunState;
use crate::event::{GuestWords, Port};
use paravane_abi::errno::Errno;
use paravane_abi::event::*;
use paravane_abi::hypercall::*;

const SELF: u16 = 0x7ff0;
const VCPUS: u32 = 3;
/// A vcpu that does not exist.
const NONE: u32 = VCPUS;

fn world() -> World {
    let mut world = World::configured(1, |config| config.vcpus = VCPUS);
    world.set_up();
    world
}

fn ask<T>(world: &mut World, command: u32, request: &T) -> i64
where
    T: zerocopy::IntoBytes + zerocopy::Immutable,
{
    world.op(HYPERVISOR_EVENT_CHANNEL_OP, command, request)
}

fn refused<T>(world: &mut World, command: u32, request: &T, error: Errno)
where
    T: zerocopy::IntoBytes + zerocopy::Immutable,
{
    world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, command, request, error);
}

fn ipi(world: &mut World, vcpu: u32) -> Port {
    assert_eq!(ask(world, EVTCHNOP_BIND_IPI, &EvtchnBindIpi { vcpu, port: 0 }), 0);
    world.get::<EvtchnBindIpi>(ARG).port
}

fn virq(world: &mut World, virq: u32, vcpu: u32) -> Port {
    assert_eq!(ask(world, EVTCHNOP_BIND_VIRQ, &EvtchnBindVirq { virq, vcpu, port: 0 }), 0, "{virq} {vcpu}");
    world.get::<EvtchnBindVirq>(ARG).port
}

fn send(world: &mut World, port: Port) {
    assert_eq!(ask(world, EVTCHNOP_SEND, &EvtchnSend { port }), 0);
}

fn upcall(world: &World, vcpu: usize) -> bool {
    world.hv.shared().upcall(world.domain().vcpus[vcpu].info).0
}

#[test]
fn interrupts_between_vcpus_reach_the_one_that_is_meant() {
    let mut world = world();
    refused(&mut world, EVTCHNOP_BIND_IPI, &EvtchnBindIpi { vcpu: NONE, port: 0 }, Errno::ENOENT);
    refused(&mut world, EVTCHNOP_BIND_IPI, &EvtchnBindIpi { vcpu: u32::MAX, port: 0 }, Errno::ENOENT);
    let ports = [0, 1, 2].map(|vcpu| ipi(&mut world, vcpu));
    send(&mut world, ports[2]);
    assert_eq!([0, 1, 2].map(|vcpu| upcall(&world, vcpu)), [false, false, true]);
    // It is down: the event waits for it.
    assert!(!world.domain().vcpus[2].up && !world.domain().vcpus[2].awake);
    // One that is up and sleeps is woken.
    let (domain, number) = (0, 1);
    let vcpu = &mut world.hv.domains[domain].vcpus[number];
    (vcpu.up, vcpu.state) = (true, RunState::Blocked);
    world.hv.refresh(domain, number);
    assert!(!world.domain().vcpus[number].awake);
    send(&mut world, ports[number]);
    assert!(world.domain().vcpus[number].awake && upcall(&world, number));
    world.audit();
}

#[test]
fn a_port_may_notify_a_vcpu_that_is_down() {
    let mut world = world();
    let request = EvtchnAllocUnbound { dom: SELF, remote_dom: SELF, port: 0 };
    assert_eq!(ask(&mut world, EVTCHNOP_ALLOC_UNBOUND, &request), 0);
    let far = world.get::<EvtchnAllocUnbound>(ARG).port;
    let request = EvtchnBindInterdomain { remote_dom: SELF, pad: 0, remote_port: far, local_port: 0 };
    assert_eq!(ask(&mut world, EVTCHNOP_BIND_INTERDOMAIN, &request), 0);
    let near = world.get::<EvtchnBindInterdomain>(ARG).local_port;
    let (fixed, moving) = (virq(&mut world, VIRQ_DEBUG, 1), virq(&mut world, VIRQ_ARGO, 0));
    let own = ipi(&mut world, 0);
    world.clear_pending();
    for port in [far, near, moving] {
        assert_eq!(ask(&mut world, EVTCHNOP_BIND_VCPU, &EvtchnBindVcpu { port, vcpu: 2 }), 0);
    }
    // The vcpu is looked at before the port.
    for (port, vcpu, error) in [
        (far, NONE, Errno::ENOENT),
        (5000, NONE, Errno::ENOENT),
        (5000, 1, Errno::EINVAL),
        (fixed, 1, Errno::EINVAL),
        (own, 0, Errno::EINVAL),
        (0, 0, Errno::EINVAL),
        (60, 0, Errno::EINVAL),
    ] {
        refused(&mut world, EVTCHNOP_BIND_VCPU, &EvtchnBindVcpu { port, vcpu }, error);
    }
    send(&mut world, near);
    assert_eq!([0, 1, 2].map(|vcpu| upcall(&world, vcpu)), [false, false, true]);
    let status = EvtchnStatus { dom: SELF, port: far, ..Default::default() };
    assert_eq!(ask(&mut world, EVTCHNOP_STATUS, &status), 0);
    assert_eq!(world.get::<EvtchnStatus>(ARG).vcpu, 2);
    // A port that is used again notifies vcpu 0 again.
    assert_eq!(ask(&mut world, EVTCHNOP_CLOSE, &EvtchnClose { port: near }), 0);
    assert_eq!(ipi(&mut world, 1), near);
    assert_eq!(world.domain().ports.status(near).unwrap().vcpu, 1);
}

#[test]
fn every_virtual_interrupt_can_be_bound_as_often_as_it_exists() {
    let mut world = world();
    for number in 0..NR_VIRQS {
        let per_vcpu = virq_is_per_vcpu(number);
        for vcpu in 0..VCPUS {
            let request = EvtchnBindVirq { virq: number, vcpu, port: 0 };
            if vcpu != 0 && !per_vcpu {
                refused(&mut world, EVTCHNOP_BIND_VIRQ, &request, Errno::EINVAL);
                continue;
            }
            virq(&mut world, number, vcpu);
            refused(&mut world, EVTCHNOP_BIND_VIRQ, &request, Errno::EEXIST);
        }
        let missing = if per_vcpu { Errno::ENOENT } else { Errno::EINVAL };
        let request = EvtchnBindVirq { virq: number, vcpu: NONE, port: 0 };
        refused(&mut world, EVTCHNOP_BIND_VIRQ, &request, missing);
    }
    for number in [NR_VIRQS, 1 << 31, u32::MAX] {
        let request = EvtchnBindVirq { virq: number, vcpu: NONE, port: 0 };
        refused(&mut world, EVTCHNOP_BIND_VIRQ, &request, Errno::EINVAL);
    }
    // Nobody but the hypervisor raises them.
    let port = (1..64).find(|port| {
        let channel = world.domain().ports.status(*port).unwrap().channel;
        matches!(channel, crate::event::Channel::Virq(_))
    });
    refused(&mut world, EVTCHNOP_SEND, &EvtchnSend { port: port.unwrap() }, Errno::EINVAL);
    world.hv.raise_virq(0, VIRQ_TIMER, 2);
    assert_eq!([0, 1, 2].map(|vcpu| upcall(&world, vcpu)), [false, false, true]);
    world.hv.raise_virq(0, VIRQ_ARGO, 2);
    assert!(upcall(&world, 0), "a domain's own goes where its port says");
    world.audit();
}

#[test]
fn queues_come_vcpu_by_vcpu() {
    let mut world = world();
    let frame = world.mfn(LIST + 0x1000);
    let control =
        |vcpu, offset| EvtchnInitControl { control_gfn: frame.get(), offset, vcpu, ..Default::default() };
    for vcpu in [1, 0] {
        assert_eq!(ask(&mut world, EVTCHNOP_INIT_CONTROL, &control(vcpu, vcpu * 128)), 0);
        world.audit();
        refused(&mut world, EVTCHNOP_INIT_CONTROL, &control(vcpu, 0), Errno::EINVAL);
    }
    refused(&mut world, EVTCHNOP_INIT_CONTROL, &control(NONE, 4), Errno::ENOENT);
    let array_gfn = world.mfn(LIST + 0x2000).get();
    assert_eq!(ask(&mut world, EVTCHNOP_EXPAND_ARRAY, &EvtchnExpandArray { array_gfn }), 0);
    let ports = [0, 1, 2].map(|vcpu| ipi(&mut world, vcpu));
    ports.into_iter().for_each(|port| send(&mut world, port));
    assert_eq!([0, 1, 2].map(|vcpu| upcall(&world, vcpu)), [true, true, false], "the last has no queues");
    let heads = [0, 128].map(|offset| {
        let place = crate::event::Place { frame, offset };
        (world.hv.shared().load32(place), world.hv.shared().load32(place.plus(8 + 4 * 7)))
    });
    assert_eq!(heads, [(1 << 7, ports[0]), (1 << 7, ports[1])]);
    assert_eq!(ask(&mut world, EVTCHNOP_RESET, &EvtchnReset { dom: SELF }), 0);
    world.audit();
}
