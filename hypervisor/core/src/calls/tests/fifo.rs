//! FIFO event channels as a guest asks for them: its own pages, held while they are in use.

use super::world::*;
use crate::addr::Mfn;
use crate::domain::RunState;
use crate::event::{Port, audit};
use crate::pagetable::Pte;
use core::mem::offset_of;
use paravane_abi::errno::Errno;
use paravane_abi::event::fifo::EventWord;
use paravane_abi::event::*;
use paravane_abi::hypercall::*;
use paravane_abi::mmu::{MMUEXT_PIN_L1_TABLE, MmuextOp};
use paravane_abi::sched::{SCHEDOP_BLOCK, SCHEDOP_POLL, SchedPoll};
use std::vec::Vec;

const SELF: u16 = 0x7ff0;
/// The page of the control block, at an offset that is not 0, and the first page of event words.
const CONTROL: u64 = LIST + 0x1000;
const OFFSET: u32 = 0x40;
const ARRAY: u64 = LIST + 0x2000;

fn ask<T>(world: &mut World, command: u32, request: &T) -> i64
where
    T: zerocopy::IntoBytes + zerocopy::Immutable,
{
    world.op(HYPERVISOR_EVENT_CHANNEL_OP, command, request)
}

fn control(world: &World) -> EvtchnInitControl {
    let control_gfn = world.mfn(CONTROL).get();
    EvtchnInitControl { control_gfn, offset: OFFSET, ..Default::default() }
}

fn array(world: &World, address: u64) -> EvtchnExpandArray {
    EvtchnExpandArray { array_gfn: world.mfn(address).get() }
}

/// A domain with queues.
fn fifo() -> World {
    let mut world = World::new();
    change_over(&mut world);
    world
}

fn change_over(world: &mut World) {
    let request = control(world);
    assert_eq!(ask(world, EVTCHNOP_INIT_CONTROL, &request), 0);
    let answer = EvtchnInitControl { link_bits: 17, ..request };
    assert_eq!(world.get::<EvtchnInitControl>(ARG), answer);
    let request = array(world, ARRAY);
    assert_eq!(ask(world, EVTCHNOP_EXPAND_ARRAY, &request), 0);
    check(world);
}

fn check(world: &World) {
    world.audit();
    let tables: Vec<_> = world.hv.domains.iter().map(|domain| &domain.ports).collect();
    audit(&tables).unwrap();
}

fn ipi(world: &mut World) -> Port {
    assert_eq!(ask(world, EVTCHNOP_BIND_IPI, &EvtchnBindIpi::default()), 0);
    world.get::<EvtchnBindIpi>(ARG).port
}

fn send(world: &mut World, port: Port) {
    assert_eq!(ask(world, EVTCHNOP_SEND, &EvtchnSend { port }), 0);
}

fn word(world: &World, port: Port) -> EventWord {
    EventWord(world.get(ARRAY + 4 * u64::from(port)))
}

fn block(world: &World) -> EvtchnFifoControlBlock {
    world.get(CONTROL + u64::from(OFFSET))
}

/// The guest's upcall: what it takes, by priority.
fn take(world: &World) -> Vec<(usize, Port)> {
    world.clear_pending();
    let mut seen = Vec::new();
    let ready = block(world).ready;
    world.put(CONTROL + u64::from(OFFSET), &0u32);
    for priority in (0..16).filter(|priority| ready >> priority & 1 != 0) {
        let mut port = block(world).head[priority];
        while port != 0 {
            let old = word(world, port);
            let masked = old.is_masked();
            if old.is_pending() && !masked {
                seen.push((priority, port));
            }
            let rest = if masked { EventWord::MASKED | old.0 & EventWord::PENDING } else { 0 };
            world.put(ARRAY + 4 * u64::from(port), &rest);
            port = old.link();
        }
    }
    seen
}

#[test]
fn events_come_through_queues() {
    let mut world = fifo();
    let (low, high) = (ipi(&mut world), ipi(&mut world));
    assert_eq!(ask(&mut world, EVTCHNOP_SET_PRIORITY, &EvtchnSetPriority { port: high, priority: 2 }), 0);
    send(&mut world, low);
    assert!(world.upcall().0);
    send(&mut world, high);
    send(&mut world, low);
    assert_eq!(take(&world), [(2, high), (7, low)]);
    assert!(!world.upcall().0);
    // The bitmaps are out of use.
    let pending = world.domain().shared_info;
    let at = offset_of!(paravane_abi::shared_info::SharedInfo, evtchn_pending);
    world.hv.machine.fake.poke(pending, at / 8, 0);
    send(&mut world, low);
    assert_eq!(crate::memory::Memory::read_word(&world.hv.machine, pending, at / 8), 0);
    // Masked, an event waits for the unmask.
    assert_eq!(take(&world), [(7, low)]);
    world.put(ARRAY + 4 * u64::from(low), &EventWord::MASKED);
    send(&mut world, low);
    assert!(!world.upcall().0 && word(&world, low).is_pending());
    assert_eq!(ask(&mut world, EVTCHNOP_UNMASK, &EvtchnUnmask { port: low }), 0);
    assert!(world.upcall().0);
    assert_eq!(take(&world), [(7, low)]);
    check(&world);
}

#[test]
fn what_was_pending_in_the_bitmaps_comes_through_the_queue() {
    let mut world = World::new();
    let (port, idle) = (ipi(&mut world), ipi(&mut world));
    send(&mut world, port);
    assert!(world.upcall().0);
    change_over(&mut world);
    assert!(word(&world, port).is_pending() && word(&world, port).is_linked());
    assert_eq!(word(&world, idle), EventWord(0));
    assert_eq!(take(&world), [(7, port)]);
}

#[test]
fn a_block_after_the_last_event_sleeps_and_the_next_wakes() {
    let mut world = fifo();
    world.set_mask(true);
    let port = ipi(&mut world);
    send(&mut world, port);
    let block = [SCHEDOP_BLOCK.into(), 0];
    assert_eq!(world.call(HYPERVISOR_SCHED_OP, &block), 0);
    assert_eq!(world.state(), RunState::Runnable, "one waits");
    assert_eq!(take(&world), [(7, port)]);
    assert_eq!(world.call(HYPERVISOR_SCHED_OP, &block), 0);
    assert_eq!(world.state(), RunState::Blocked);
    send(&mut world, port);
    assert_eq!(world.state(), RunState::Runnable);
    // A poll looks at the word, and is ended by an event that is masked.
    assert_eq!(take(&world), [(7, port)]);
    world.set_mask(true);
    world.put(LIST, &[port]);
    world.put(ARRAY + 4 * u64::from(port), &EventWord::MASKED);
    let poll = SchedPoll { ports: LIST, nr_ports: 1, pad: 0, timeout: 0 };
    assert_eq!(world.op(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, &poll), 0);
    assert_eq!(world.state(), RunState::Blocked);
    send(&mut world, port);
    assert_eq!((world.state(), world.upcall().0), (RunState::Runnable, false));
    assert_eq!(world.op(HYPERVISOR_SCHED_OP, SCHEDOP_POLL, &poll), 0);
    assert_eq!(world.state(), RunState::Runnable, "pending already");
}

#[test]
fn refusals_leave_the_form_as_it_is() {
    let mut world = World::with_domains(2);
    world.set_up();
    let foreign = {
        let id = world.hv.domains[1].id;
        let mut frames = (0..world.hv.frames.len() as u64).map(Mfn::new);
        frames.find(|frame| world.hv.frames.is_owned_by(*frame, id)).unwrap().get()
    };
    let table = world.entry(ARG, crate::addr::Level::L1).0.get();
    let refused = |world: &mut World, request: EvtchnInitControl, error| {
        world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_INIT_CONTROL, &request, error);
    };
    let good = control(&world);
    for control_gfn in [foreign, table, u64::MAX, 1 << 40, 0] {
        refused(&mut world, EvtchnInitControl { control_gfn, ..good }, Errno::EINVAL);
        refused(&mut world, EvtchnInitControl { control_gfn, vcpu: 1, ..good }, Errno::ENOENT);
    }
    for offset in [4025, 4028, 4032, 4096, u32::MAX, 4, 1] {
        refused(&mut world, EvtchnInitControl { offset, ..good }, Errno::EINVAL);
        refused(&mut world, EvtchnInitControl { offset, vcpu: 9, ..good }, Errno::ENOENT);
    }
    let page = array(&world, ARRAY);
    world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_EXPAND_ARRAY, &page, Errno::EOPNOTSUPP);
    let set = EvtchnSetPriority { port: 1, priority: 0 };
    world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_SET_PRIORITY, &set, Errno::ENOSYS);
    change_over(&mut world);
    refused(&mut world, good, Errno::EINVAL);
    for array_gfn in [foreign, table, u64::MAX, 1 << 40, 0] {
        let page = EvtchnExpandArray { array_gfn };
        world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_EXPAND_ARRAY, &page, Errno::EINVAL);
    }
    let port = world.domain().console.port;
    for (port, priority, error) in
        [(port, 16, Errno::EINVAL), (60, 16, Errno::EACCES), (0, 0, Errno::EACCES), (64, 0, Errno::EINVAL)]
    {
        let set = EvtchnSetPriority { port, priority };
        world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_SET_PRIORITY, &set, error);
    }
}

/// Whether a page of the initial mapping, unmapped here, can become a page table.
fn can_be_a_table(world: &mut World, address: u64) -> bool {
    let frame = world.mfn(address);
    let zeros = [0u64; 512];
    world.put(address, &zeros);
    world.map(address, 0);
    let pin = MmuextOp { cmd: MMUEXT_PIN_L1_TABLE, arg1: frame.get(), ..Default::default() };
    world.put(ARG, &pin);
    let answer = world.call(HYPERVISOR_MMUEXT_OP, &[ARG, 1, 0, SELF.into()]);
    if answer != 0 {
        assert_eq!(answer, Errno::EINVAL.to_ret());
        world.map(address, frame.address() | Pte::P | Pte::RW);
    }
    answer == 0
}

#[test]
fn pages_are_held_until_the_reset() {
    let mut world = fifo();
    let ports: Vec<_> = (0..100).map(|_| ipi(&mut world)).collect();
    send(&mut world, ports[3]);
    assert!(!can_be_a_table(&mut world, ARRAY) && !can_be_a_table(&mut world, CONTROL));
    assert_eq!(ask(&mut world, EVTCHNOP_RESET, &EvtchnReset { dom: SELF }), 0);
    assert_eq!((world.preempted, world.domain().ports.active()), (1, 0));
    check(&world);
    assert!(can_be_a_table(&mut world, ARRAY) && can_be_a_table(&mut world, CONTROL));
    check(&world);
    // Two levels again.
    let set = EvtchnSetPriority { port: 1, priority: 0 };
    world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_SET_PRIORITY, &set, Errno::ENOSYS);
    world.clear_pending();
    let port = ipi(&mut world);
    assert_eq!(port, 1);
    assert_eq!(ask(&mut world, EVTCHNOP_UNMASK, &EvtchnUnmask { port }), 0);
    send(&mut world, port);
    assert!(world.upcall().0);
}

#[test]
fn pages_are_held_until_the_domain_dies() {
    let mut world = fifo();
    for _ in 0..100 {
        ipi(&mut world);
    }
    assert!(!world.hv.close_ports(0), "more than one step");
    check(&world);
    assert!(world.hv.close_ports(0));
    check(&world);
    assert_eq!(world.domain().ports.held_frames().count(), 0);
    let bind = EvtchnBindIpi::default();
    world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_BIND_IPI, &bind, Errno::EINVAL);
}

#[test]
fn one_page_can_be_everything_at_once() {
    // Control block, event words and the request in one page: the guest's loss, nobody else's.
    let mut world = World::new();
    let request = EvtchnInitControl { control_gfn: world.mfn(ARG).get(), offset: 0, ..Default::default() };
    assert_eq!(ask(&mut world, EVTCHNOP_INIT_CONTROL, &request), 0);
    let page = array(&world, ARG);
    for _ in 0..128 {
        assert_eq!(ask(&mut world, EVTCHNOP_EXPAND_ARRAY, &page), 0);
    }
    world.op_refused(HYPERVISOR_EVENT_CHANNEL_OP, EVTCHNOP_EXPAND_ARRAY, &page, Errno::ENOSPC);
    let ports: Vec<_> = (0..20).map(|_| ipi(&mut world)).collect();
    for port in ports {
        let _ = ask(&mut world, EVTCHNOP_SEND, &EvtchnSend { port });
        let _ = ask(&mut world, EVTCHNOP_UNMASK, &EvtchnUnmask { port });
    }
    check(&world);
    assert_eq!(ask(&mut world, EVTCHNOP_RESET, &EvtchnReset { dom: SELF }), 0);
    check(&world);
}
