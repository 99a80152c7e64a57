//! What a guest that keeps the rules sees.

use super::world::World;
use crate::addr::{DomainId, Mfn};
use crate::event::fifo::Fifo;
use crate::event::form::Form;
use crate::event::{
    FIFO_PORTS, Place, Poll, PollWait, Port, PortTable, Raised, Reset, TWO_LEVEL_PORTS, audit,
};
use core::sync::atomic::Ordering::SeqCst;
use paravane_abi::errno::Errno;
use paravane_abi::event::fifo::EventWord;
use paravane_abi::event::{VIRQ_DEBUG, VIRQ_TIMER};
use std::vec::Vec;

fn raised(port: Port, vcpu: Option<u32>) -> Raised {
    Raised { port, newly_pending: true, notify: vcpu }
}

fn priority(world: &mut World, port: Port, priority: u32) {
    assert_eq!(world.table.set_priority(port, priority), Ok(()));
}

#[test]
fn events_come_in_order_of_priority_and_arrival() {
    let mut world = World::fifo();
    let ports: Vec<_> = (0..5).map(|_| world.ipi(0)).collect();
    priority(&mut world, ports[3], 0);
    priority(&mut world, ports[0], 15);
    assert_eq!(world.send(ports[0]), raised(ports[0], Some(0)));
    assert_eq!(world.send(ports[2]), raised(ports[2], None), "the upcall is due already");
    assert_eq!(world.send(ports[1]), raised(ports[1], None));
    assert_eq!(world.send(ports[2]), Raised::nothing(ports[2]), "pending already");
    world.raise(ports[4]);
    world.raise(ports[3]);
    assert_eq!(world.take(0), [ports[3], ports[2], ports[1], ports[4], ports[0]]);
    assert_eq!(world.take(0), []);
    for port in ports {
        assert_eq!(world.memory.word(port), EventWord(0));
        assert_eq!(world.send(port), raised(port, Some(0)));
        assert_eq!(world.take(0), [port]);
    }
}

#[test]
fn every_vcpu_has_queues_of_its_own() {
    let mut world = World::fifo();
    let (first, second) = (world.ipi(0), world.ipi(1));
    let timers = [0, 1].map(|vcpu| world.table.bind_virq(&world.memory, VIRQ_TIMER, vcpu).unwrap());
    assert_eq!(world.table.bind_virq(&world.memory, VIRQ_DEBUG, 2), Err(Errno::ENOENT));
    assert_eq!(world.send(second), raised(second, Some(1)));
    assert_eq!(world.send(first), raised(first, Some(0)));
    for (vcpu, port) in timers.into_iter().enumerate() {
        let got = world.table.raise_virq(&world.memory, VIRQ_TIMER, vcpu as u32);
        assert_eq!(got, Some(raised(port, None)));
    }
    assert_eq!(world.take(1), [second, timers[1]]);
    assert_eq!(world.take(0), [first, timers[0]]);
}

#[test]
fn a_masked_event_is_queued_when_it_is_unmasked() {
    let mut world = World::fifo();
    let port = world.ipi(1);
    world.memory.mask(port);
    assert_eq!(world.send(port), raised(port, None), "a poll sees it");
    assert_eq!(world.table.poll(&world.memory, &[port]), Ok(Poll::Ready));
    assert!(!world.memory.upcall_pending(1) && !world.memory.word(port).is_linked());
    assert_eq!(world.take(1), []);
    assert_eq!(world.unmask(port), Raised { port, newly_pending: false, notify: Some(1) });
    assert_eq!(world.take(1), [port]);
    assert_eq!(world.unmask(port), Raised::nothing(port));
    assert_eq!(world.table.poll(&world.memory, &[port]), Ok(Poll::Wait(PollWait::One(port))));
    // Masked after it was queued: the guest takes it off and leaves it pending.
    world.raise(port);
    world.memory.mask(port);
    assert_eq!(world.take(1), []);
    assert!(world.memory.word(port).is_pending());
    let _ = world.unmask(port);
    assert_eq!(world.take(1), [port]);
}

/// A port moves to another queue of its vcpu, or to another vcpu's, between two events.
#[test]
fn a_moved_port_takes_no_one_with_it() {
    for to_vcpu in [0, 1] {
        let mut world = World::fifo();
        let mover = world.table.alloc_unbound(&world.memory, DomainId(1)).unwrap();
        let (near, _) = crate::event::bind_interdomain(&mut world.table, &world.memory, None, mover).unwrap();
        assert_eq!(world.take(0), [near]);
        let own = world.ipi(0);
        let send = |world: &mut World| world.table.send(&world.memory, near).map(|_| ());
        // The mover is the last of its old queue, which the guest has emptied.
        assert_eq!(send(&mut world), Ok(()));
        assert_eq!(world.take(0), [mover]);
        match to_vcpu {
            0 => priority(&mut world, mover, 3),
            _ => world.table.bind_vcpu(mover, 1).unwrap(),
        }
        assert_eq!(send(&mut world), Ok(()));
        world.raise(own);
        world.check();
        assert_eq!(world.memory.controls[0].head[7].load(SeqCst), own, "a head, not the mover's link");
        assert_eq!(world.memory.word(mover).link(), 0);
        match to_vcpu {
            0 => assert_eq!(world.take(0), [mover, own]),
            _ => assert_eq!((world.take(0), world.take(1)), (Vec::from([own]), Vec::from([mover]))),
        }
    }
}

#[test]
fn a_queued_port_that_moves_is_taken_from_where_it_is() {
    let mut world = World::fifo();
    let (a, b) = (world.ipi(0), world.ipi(0));
    world.raise(a);
    priority(&mut world, a, 0);
    assert_eq!(world.send(a), Raised::nothing(a));
    world.raise(b);
    assert_eq!(world.memory.controls[0].ready.load(SeqCst), 1 << 7);
    assert_eq!(world.take(0), [a, b]);
    world.raise(a);
    assert_eq!(world.memory.controls[0].ready.load(SeqCst), 1);
    assert_eq!(world.take(0), [a]);
}

#[test]
fn a_closed_port_is_not_used_again_while_it_is_queued() {
    let mut world = World::fifo();
    let port = world.ipi(0);
    priority(&mut world, port, 2);
    world.raise(port);
    assert_eq!(world.table.close(&world.memory, port), Ok(None));
    let word = world.memory.word(port);
    assert!(word.is_linked() && !word.is_pending());
    let next = world.ipi(0);
    assert_eq!(next, port + 1);
    world.check();
    assert_eq!(world.take(0), [], "taken off without being handled");
    assert_eq!(world.ipi(0), port);
    world.raise(port);
    assert_eq!(world.memory.controls[0].ready.load(SeqCst), 1 << 7, "the default again");
}

#[test]
fn priorities_have_bounds_and_closed_ports_none() {
    let mut world = World::fifo();
    let port = world.ipi(0);
    assert_eq!(world.table.set_priority(port, 15), Ok(()));
    assert_eq!(world.table.set_priority(port, 16), Err(Errno::EINVAL));
    assert_eq!(world.table.set_priority(port, u32::MAX), Err(Errno::EINVAL));
    for closed in [0, 9] {
        assert_eq!(world.table.set_priority(closed, 16), Err(Errno::EACCES));
    }
    assert_eq!(world.table.set_priority(64, 0), Err(Errno::EINVAL));
}

#[test]
fn the_first_control_block_changes_the_form() {
    let mut world = World::new();
    let place = |offset| Place { frame: Mfn::new(1), offset };
    assert_eq!(world.table.check_array(), Err(Errno::EOPNOTSUPP));
    assert_eq!(world.table.expand_array(Mfn::new(16)), Err(Errno::EOPNOTSUPP));
    for (vcpu, offset, error) in [
        (2, 1, Errno::ENOENT),
        (u32::MAX, 0, Errno::ENOENT),
        (0, 4025, Errno::EINVAL),
        (0, 4032, Errno::EINVAL),
        (0, u32::MAX, Errno::EINVAL),
        (0, 4, Errno::EINVAL),
    ] {
        assert_eq!(world.table.check_control(vcpu, offset), Err(error), "{vcpu} {offset}");
        assert_eq!(world.table.init_control(&world.memory, vcpu, place(offset as usize)), Err(error));
    }
    assert!(matches!(world.table.form, Form::TwoLevel), "a refusal changes nothing");
    assert_eq!(world.table.check_control(0, 4024), Ok(()));
    world.control(0);
    assert_eq!(world.table.check_control(0, 0), Err(Errno::EINVAL), "it has one");
    assert_eq!(world.table.check_control(1, 0), Ok(()));
    assert_eq!(world.table.set_priority(9, 0), Err(Errno::EACCES));
    world.check();
}

#[test]
fn what_is_pending_when_the_form_changes_waits_for_its_word() {
    let mut world = World::new();
    let ports = [0, 1, 0].map(|vcpu| world.ipi(vcpu));
    let idle = world.ipi(0);
    world.raise(ports[0]);
    world.raise(ports[1]);
    // The guest's own scribbling on a port it does not have is no event.
    world.memory.poke_pending(40);
    world.control(0);
    world.control(1);
    // A port without a word: kept, and nobody is told yet.
    assert_eq!(world.send(ports[2]), Raised::nothing(ports[2]));
    assert_eq!(world.unmask(ports[0]), Raised::nothing(ports[0]));
    assert_eq!(world.table.poll(&world.memory, &[ports[0]]), Ok(Poll::Wait(PollWait::One(ports[0]))));
    // A closed one is forgotten.
    let gone = world.ipi(0);
    world.raise(gone);
    world.table.close(&world.memory, gone).unwrap();
    world.check();
    // Both upcalls are due from before.
    let _ = (world.take(0), world.take(1));
    let told = world.expand();
    assert_eq!(told, [raised(ports[0], Some(0)), raised(ports[1], Some(1)), raised(ports[2], None)]);
    assert_eq!(world.take(0), [ports[0], ports[2]]);
    assert_eq!(world.take(1), [ports[1]]);
    assert_eq!(world.send(idle), raised(idle, Some(0)));
}

#[test]
fn a_vcpu_without_a_control_block_gets_nothing() {
    let mut world = World::new();
    world.control(1);
    world.expand();
    let (here, there) = (world.ipi(0), world.ipi(1));
    assert_eq!(world.send(here), Raised::nothing(here));
    assert_eq!(world.memory.word(here), EventWord(0));
    assert_eq!(world.send(there), raised(there, Some(1)));
    world.control(0);
    assert_eq!(world.send(here), raised(here, Some(0)));
}

#[test]
fn ports_past_the_bitmaps_need_queues() {
    let mut table = PortTable::new(DomainId(1), 1, u32::MAX);
    let memory = World::new().memory;
    let fill = |table: &mut PortTable, limit: Port| {
        while table.active() < limit && table.bind_backend(crate::event::Backend::Console).is_ok() {}
    };
    fill(&mut table, u32::MAX);
    assert_eq!(table.active(), TWO_LEVEL_PORTS - 1);
    assert_eq!(table.bind_ipi(&memory, 0), Err(Errno::ENOSPC));
    table.init_control(&memory, 0, Place { frame: Mfn::new(1), offset: 0 }).unwrap();
    assert_eq!(table.bind_ipi(&memory, 0), Ok(TWO_LEVEL_PORTS));
    audit(&[&table]).unwrap();
    // Back in the two-level form, what is valid stays valid and is closed.
    let Ok(Reset::Done { frames }) = table.reset(&memory, false, u32::MAX, |_| {}) else { panic!() };
    assert_eq!(frames, [Mfn::new(1)]);
    fill(&mut table, u32::MAX);
    assert_eq!(table.active(), TWO_LEVEL_PORTS - 1);
    assert_eq!(table.poll(&memory, &[TWO_LEVEL_PORTS]), Err(Errno::EINVAL));
    assert_eq!(table.unmask(&memory, TWO_LEVEL_PORTS), Ok(Raised::nothing(TWO_LEVEL_PORTS)));
    assert_eq!(table.close(&memory, TWO_LEVEL_PORTS), Err(Errno::EINVAL));
    audit(&[&table]).unwrap();
}

#[test]
fn an_array_has_as_many_pages_as_a_link_can_reach() {
    let mut world = World::new();
    world.control(0);
    for page in 0..128 {
        assert_eq!(world.table.expand_array(Mfn::new(100 + page)), Ok(page as u32 * 1024));
    }
    assert_eq!(world.table.check_array(), Err(Errno::ENOSPC));
    assert_eq!(world.table.expand_array(Mfn::new(1)), Err(Errno::ENOSPC));
    assert_eq!(world.table.held_frames().count(), 129);
    assert_eq!(128 * 1024, FIFO_PORTS);
    world.check();
}

#[test]
fn a_reset_and_a_death_give_back_all_frames() {
    let mut world = World::fifo();
    let port = world.ipi(0);
    world.raise(port);
    let held: Vec<_> = world.table.held_frames().collect();
    assert_eq!(held, [1, 2, 16].map(Mfn::new));
    let done = world.table.reset(&world.memory, false, 1000, |_| {});
    assert_eq!(done, Ok(Reset::Done { frames: held.clone() }));
    assert_eq!(world.table.held_frames().count(), 0);
    assert_eq!(world.table.set_priority(port, 0), Err(Errno::ENOSYS));
    world.check();
    // And again, with queues that know nothing of the first ones.
    world.control(0);
    assert_eq!(world.expand(), []);
    for _ in 0..70 {
        world.ipi(0);
    }
    assert_eq!(world.table.destroy(&world.memory, 64, |_| {}), Reset::Preempted);
    world.check();
    let frames = [1, 16].map(Mfn::new).to_vec();
    assert_eq!(world.table.destroy(&world.memory, 64, |_| {}), Reset::Done { frames });
    assert_eq!((world.table.active(), world.table.held_frames().count()), (0, 0));
    world.check();
}

#[test]
fn the_audit_sees_what_is_wrong_with_queues() {
    let broken = |damage: fn(&mut Fifo)| {
        let mut world = World::fifo();
        let port = world.ipi(0);
        world.raise(port);
        let Form::Fifo(fifo) = &mut world.table.form else { panic!("two levels") };
        damage(fifo);
        audit(&[&world.table]).unwrap_err().what
    };
    assert!(broken(|fifo| fifo.vcpus.truncate(1)).contains("every vcpu"));
    assert!(broken(|fifo| fifo.ports.truncate(63)).contains("every port"));
    assert!(broken(|fifo| fifo.array.resize(129, Mfn::new(1))).contains("more event words"));
    assert!(broken(|fifo| fifo.ports[1].priority = 16).contains("does not exist"));
    assert!(broken(|fifo| fifo.ports[1].last.priority = 16).contains("does not exist"));
    assert!(broken(|fifo| fifo.ports[1].last.vcpu = 2).contains("does not exist"));
    assert!(broken(|fifo| fifo.ports[1].held = true).contains("held back"));
    assert!(broken(|fifo| fifo.vcpus[0].tails[3] = 1).contains("not put there"));
    assert!(broken(|fifo| fifo.vcpus[0].tails[7] = 5000).contains("not put there"));
    assert!(broken(|fifo| fifo.array.clear()).contains("not put there"));
}
