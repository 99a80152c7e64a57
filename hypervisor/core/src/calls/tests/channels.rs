//! Event channels between domains: who may make them, what either end sees, and who is woken. The codes and their
//! order are those of Xen 4.17's `common/event_channel.c` with its dummy security policy.

use super::world::*;
use crate::addr::DomainId;
use crate::domain::{Bits, RunState};
use crate::event::{Channel, Port, PortStatus, Raised, SharedBits, audit};
use paravane_abi::errno::Errno;
use paravane_abi::event::*;
use paravane_abi::hypercall::*;
use paravane_abi::sched::{SCHEDOP_POLL, SchedPoll};
use std::vec::Vec;

const SELF: u16 = 0x7ff0;
/// A domain that does not exist, and two numbers that Xen gives to no guest.
const NOBODY: [u16; 3] = [9, 0x7ff1, 0x7ff2];

/// Three domains, of which the first has set itself up and runs.
fn three() -> World {
    let mut world = World::with_domains(3);
    world.set_up();
    world
}

fn ask<T>(world: &mut World, command: u32, request: &T) -> i64
where
    T: zerocopy::IntoBytes + zerocopy::Immutable,
{
    world.op(HYPERVISOR_EVENT_CHANNEL_OP, command, request)
}

/// The running domain offers a port.
fn offer(world: &mut World, remote_dom: u16) -> Port {
    let request = EvtchnAllocUnbound { dom: SELF, remote_dom, port: 0 };
    assert_eq!(ask(world, EVTCHNOP_ALLOC_UNBOUND, &request), 0);
    world.get::<EvtchnAllocUnbound>(ARG).port
}

/// Another domain offers a port.
fn offer_from(world: &mut World, index: usize, to: u16) -> Port {
    let (ports, bits) = world.hv.events(index);
    ports.alloc_unbound(&bits, DomainId(to)).unwrap()
}

fn ipi(world: &mut World, index: usize) -> Result<Port, Errno> {
    let (ports, bits) = world.hv.events(index);
    ports.bind_ipi(&bits, 0)
}

/// Domain 2 offers a port to the running domain, which takes it: (the port here, the port there).
fn channel(world: &mut World) -> (Port, Port) {
    let there = offer_from(world, 1, 1);
    let request = EvtchnBindInterdomain { remote_dom: 2, pad: 0, remote_port: there, local_port: 0 };
    assert_eq!(ask(world, EVTCHNOP_BIND_INTERDOMAIN, &request), 0);
    (world.get::<EvtchnBindInterdomain>(ARG).local_port, there)
}

fn pending(world: &World, domain: usize, port: Port) -> bool {
    Bits::of(&world.hv.frames, &world.hv.machine, &world.hv.domains[domain]).is_pending(port)
}

fn status(world: &World, domain: usize, port: Port) -> PortStatus {
    world.hv.domains[domain].ports.status(port).unwrap()
}

fn check(world: &World) {
    let tables: Vec<_> = world.hv.domains.iter().map(|domain| &domain.ports).collect();
    audit(&tables).unwrap();
    world.audit();
}

#[test]
fn a_port_of_another_domain_is_not_to_be_had() {
    let mut world = three();
    let refused = |world: &mut World, dom, error| {
        let request = EvtchnAllocUnbound { dom, remote_dom: 1, port: 0 };
        world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_ALLOC_UNBOUND, &request, error);
    };
    NOBODY.into_iter().for_each(|dom| refused(&mut world, dom, Errno::ESRCH));
    refused(&mut world, 2, Errno::EPERM);
    // The port comes before the question who asks: of a full domain, and of one that dies.
    while ipi(&mut world, 1).is_ok() {}
    refused(&mut world, 2, Errno::ENOSPC);
    assert!(world.hv.close_ports(2));
    refused(&mut world, 3, Errno::EINVAL);
    // The domain's own number is as good as "self", and whom the port is for is not looked at.
    let own = EvtchnAllocUnbound { dom: 1, remote_dom: 9, port: 0 };
    assert_eq!(ask(&mut world, EVTCHNOP_ALLOC_UNBOUND, &own), 0);
    let port = world.get::<EvtchnAllocUnbound>(ARG).port;
    assert_eq!(status(&world, 0, port).channel, Channel::Unbound { remote: DomainId(9) });
    check(&world);
}

#[test]
fn a_port_is_asked_after_before_the_asker() {
    let mut world = three();
    let mut refused = |dom, port, error| {
        let request = EvtchnStatus { dom, port, ..Default::default() };
        world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_STATUS, &request, error);
    };
    refused(NOBODY[0], 5000, Errno::ESRCH);
    refused(2, 5000, Errno::EINVAL);
    refused(2, 64, Errno::EINVAL);
    refused(2, 63, Errno::EPERM);
    refused(SELF, 64, Errno::EINVAL);
}

#[test]
fn an_interrupt_that_cannot_exist_is_bad_before_it_is_forbidden() {
    let mut world = World::new();
    for (pirq, error) in [(0, Errno::EPERM), (55, Errno::EPERM), (56, Errno::EINVAL), (!0, Errno::EINVAL)] {
        let request = EvtchnBindPirq { pirq, flags: 0, port: 0 };
        world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_PIRQ, &request, error);
    }
}

#[test]
fn only_what_is_offered_to_the_caller_can_be_taken() {
    let mut world = three();
    let for_third = offer_from(&mut world, 1, 3);
    let ipi = ipi(&mut world, 1).unwrap();
    let console = world.hv.domains[1].console.port;
    let refused = |world: &mut World, remote_dom, remote_port, error| {
        let request = EvtchnBindInterdomain { remote_dom, pad: 0, remote_port, local_port: 0 };
        world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, &request, error);
    };
    NOBODY.into_iter().for_each(|dom| refused(&mut world, dom, 1, Errno::ESRCH));
    for port in [0, console, for_third, ipi, 63, 64, 4095, 4096, u32::MAX] {
        refused(&mut world, 2, port, Errno::EINVAL);
    }
    // The caller's own table is looked at before the peer's port.
    let there = offer_from(&mut world, 1, 1);
    while super::channels::ipi(&mut world, 0).is_ok() {}
    refused(&mut world, 2, 64, Errno::ENOSPC);
    refused(&mut world, 2, there, Errno::ENOSPC);
    assert_eq!(status(&world, 1, there).channel, Channel::Unbound { remote: DomainId(1) });
    check(&world);
}

#[test]
fn both_ends_of_a_channel_know_each_other() {
    let mut world = three();
    let (here, there) = channel(&mut world);
    let (first, second) = (DomainId(1), DomainId(2));
    assert_eq!(status(&world, 0, here).channel, Channel::Interdomain { remote: second, port: there });
    assert_eq!(status(&world, 1, there).channel, Channel::Interdomain { remote: first, port: here });
    assert!(pending(&world, 0, here), "what was sent before is made up for");
    assert!(!pending(&world, 1, there));
    // It is taken: another cannot have it, nor the same again.
    let request = EvtchnBindInterdomain { remote_dom: 2, pad: 0, remote_port: there, local_port: 0 };
    world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, &request, Errno::EINVAL);
    assert_eq!(world.hv.connect(2, 1, there), Err(Errno::EINVAL));
    check(&world);
    // The end that closes is free; the other waits again, for the same domain.
    assert_eq!(ask(&mut world, EVTCHNOP_CLOSE, &EvtchnClose { port: here }), 0);
    assert_eq!(status(&world, 0, here).channel, Channel::Free);
    assert_eq!(status(&world, 1, there).channel, Channel::Unbound { remote: first });
    let close = EvtchnClose { port: here };
    world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_CLOSE, &close, Errno::EINVAL);
    assert_eq!(world.hv.send_event(1, there), Ok(0), "dropped without a word");
    check(&world);
    // The same from the other end.
    let (here, there) = channel(&mut world);
    world.hv.close_port(1, there).unwrap();
    assert_eq!(status(&world, 0, here).channel, Channel::Unbound { remote: second });
    assert_eq!(ask(&mut world, EVTCHNOP_SEND, &EvtchnSend { port: here }), 0);
    assert_eq!(world.hv.send_event(1, there), Err(Errno::EINVAL.into()), "the sender's own end is closed");
    check(&world);
}

#[test]
fn a_send_wakes_the_vcpu_that_waits_in_the_other_domain() {
    let mut world = three();
    let (here, there) = channel(&mut world);
    world.hv.domains[1].vcpus[0].state = RunState::Blocked;
    assert_eq!(ask(&mut world, EVTCHNOP_SEND, &EvtchnSend { port: here }), 0);
    assert!(pending(&world, 1, there));
    assert_eq!(world.hv.domains[1].vcpus[0].state, RunState::Runnable);
    assert_eq!(world.hv.domains[2].vcpus[0].state, RunState::Blocked, "as it was");
    // Pending already: whoever blocked since then did so knowing it.
    world.hv.domains[1].vcpus[0].state = RunState::Blocked;
    assert_eq!(ask(&mut world, EVTCHNOP_SEND, &EvtchnSend { port: here }), 0);
    assert_eq!(world.hv.domains[1].vcpus[0].state, RunState::Blocked);
    // A vcpu that is down is not brought up by an event.
    let (here, _) = channel(&mut world);
    world.hv.domains[1].vcpus[0].up = false;
    world.hv.refresh(1, 0);
    assert_eq!(ask(&mut world, EVTCHNOP_SEND, &EvtchnSend { port: here }), 0);
    assert!(!world.hv.domains[1].vcpus[0].up && !world.hv.domains[1].vcpus[0].awake);
}

#[test]
fn a_poll_ends_by_another_domains_send_though_the_port_is_masked() {
    let mut world = three();
    world.set_mask(true);
    let (here, there) = channel(&mut world);
    let (ports, bits) = world.hv.events(0);
    assert_eq!(ports.unmask(&bits, here), Ok(Raised::nothing(here)));
    world.clear_pending();
    let frame = world.domain().shared_info;
    let mask = core::mem::offset_of!(paravane_abi::shared_info::SharedInfo, evtchn_mask) / 8;
    world.hv.machine.fake.poke(frame, mask, 1 << here);
    world.put(LIST, &[here]);
    let poll = SchedPoll { ports: LIST, nr_ports: 1, pad: 0, timeout: 0 };
    assert_eq!(world.op(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, &poll), 0);
    assert_eq!(world.state(), RunState::Blocked);
    assert_eq!(world.hv.send_event(1, there), Ok(0));
    assert_eq!((world.state(), world.upcall().0), (RunState::Runnable, false));
}

#[test]
fn a_dying_domain_leaves_its_peers_with_ports_that_wait() {
    let mut world = three();
    let (here, there) = channel(&mut world);
    let open = offer_from(&mut world, 1, 1);
    assert!(world.hv.close_ports(1));
    check(&world);
    assert_eq!(status(&world, 0, here).channel, Channel::Unbound { remote: DomainId(2) });
    assert_eq!(ask(&mut world, EVTCHNOP_SEND, &EvtchnSend { port: here }), 0);
    assert_eq!(world.hv.send_event(1, there), Err(Errno::EINVAL.into()));
    assert_eq!(world.hv.connect(1, 0, here), Err(Errno::EINVAL), "it opens nothing any more");
    for remote_port in [there, open] {
        let request = EvtchnBindInterdomain { remote_dom: 2, pad: 0, remote_port, local_port: 0 };
        world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_INTERDOMAIN, &request, Errno::EINVAL);
    }
    // When the domain is gone its number names nobody.
    world.hv.domains.remove(1);
    let request = EvtchnBindInterdomain { remote_dom: 2, pad: 0, remote_port: there, local_port: 0 };
    let pointer = ARG;
    world.put(pointer, &request);
    let answer = world.call(HYPERVISOR_EVENT_CHANNEL_OP, &[EVTCHNOP_BIND_INTERDOMAIN.into(), pointer]);
    assert_eq!(answer, Errno::ESRCH.to_ret());
}

#[test]
fn a_reset_lets_go_of_connected_peers() {
    let mut world = three();
    let channels: Vec<_> = (0..80).map(|_| channel(&mut world)).collect();
    let unused = offer(&mut world, 2);
    let status_of = |dom| EvtchnReset { dom };
    for (dom, error) in [(2, Errno::EPERM), (NOBODY[0], Errno::ESRCH)] {
        world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_RESET, &status_of(dom), error);
    }
    assert_eq!(ask(&mut world, EVTCHNOP_RESET, &status_of(1)), 0);
    assert!(world.preempted > 0, "more than one step");
    check(&world);
    assert_eq!(world.domain().ports.active(), 0);
    assert_eq!(status(&world, 0, unused).channel, Channel::Free);
    for (here, there) in channels {
        assert_eq!(status(&world, 0, here).channel, Channel::Free);
        assert_eq!(status(&world, 1, there).channel, Channel::Unbound { remote: DomainId(1) });
    }
}
