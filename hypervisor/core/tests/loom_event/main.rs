//! Every interleaving of the hypervisor's half of event channels with a guest's, in both forms: the port table that
//! runs under the hypervisor's lock, and a kernel on another processor that masks, unmasks and takes events by
//! writing shared words, without any lock. No event is lost, and nobody sleeps while one waits.
//!
//! A sender says something before it sends, and at the end the receiver must have heard the last of it. It is asked
//! after it has taken what the pending flag tells it to take; if it has gone to sleep it is asked at once.

mod guest;
mod memory;

use guest::{Guest, upcall_pending};
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;
use memory::{Machine, PORTS};
use paravane_core::event::Port;

/// Switches away from a thread that could go on, at most, in one run. Races between two threads need one or two.
const PREEMPTIONS: usize = 3;

fn explore(preemptions: usize, scenario: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(scenario);
}

/// What other vcpus say, one list each: port and word.
type Speech = &'static [(Port, u32)];

impl Guest {
    fn upcall(&mut self, machine: &Machine, fifo: bool) {
        if !upcall_pending(machine) {
            return;
        }
        if fifo {
            self.upcall_fifo(machine);
        } else {
            self.upcall_two_level(machine);
        }
    }
}

/// Lets the speakers speak while the guest acts, and checks that it has heard everything in the end.
fn converse(fifo: bool, speeches: &'static [Speech], act: fn(&mut Guest, &Machine)) {
    let machine = Arc::new(Machine::new(fifo));
    let speakers: Vec<_> = speeches
        .iter()
        .map(|speech| {
            let machine = machine.clone();
            thread::spawn(move || speech.iter().for_each(|&(port, what)| machine.say(port, what)))
        })
        .collect();
    let mut guest = Guest::default();
    act(&mut guest, &machine);
    speakers.into_iter().for_each(|speaker| speaker.join().expect("it has spoken"));
    let asleep = machine.call(|hypervisor, _| hypervisor.blocked);
    if !asleep {
        guest.upcall(&machine, fifo);
    }
    for port in 1..PORTS as u32 {
        let last = machine.heard(port);
        assert_eq!(guest.heard[port as usize], last, "port {port}, asleep: {asleep}");
    }
}

/// Takes what there is and goes to sleep.
fn take_and_block<const FIFO: bool>(guest: &mut Guest, machine: &Machine) {
    guest.upcall(machine, FIFO);
    machine.block();
}

/// The two speakers' ports: one queue, or one word of the bitmap.
const TWO: &[Speech] = &[&[(1, 1)], &[(2, 1)]];
/// One port twice, with another in between.
const AGAIN: &[Speech] = &[&[(1, 1), (2, 1), (1, 2)]];
/// One port once: nothing that comes later can make up for it.
const ONCE: &[Speech] = &[&[(1, 1)]];

#[test]
fn two_level_sends_reach_a_vcpu_that_goes_to_sleep() {
    explore(PREEMPTIONS, || converse(false, TWO, take_and_block::<false>));
}

#[test]
fn two_level_sends_repeat() {
    explore(PREEMPTIONS, || converse(false, AGAIN, take_and_block::<false>));
}

#[test]
fn two_level_masks_hold_events_back_and_let_them_go() {
    let act = |guest: &mut Guest, machine: &Machine| {
        Guest::mask(machine, false, 1);
        guest.upcall(machine, false);
        machine.unmask(1);
        machine.block();
    };
    for speeches in [ONCE, AGAIN] {
        explore(PREEMPTIONS, move || converse(false, speeches, act));
    }
}

#[test]
fn two_level_masks_are_cleared_without_the_hypervisor() {
    let act = |guest: &mut Guest, machine: &Machine| {
        Guest::mask(machine, false, 1);
        guest.upcall(machine, false);
        Guest::unmask_two_level(machine, 1);
        machine.block();
    };
    for speeches in [ONCE, AGAIN] {
        explore(PREEMPTIONS, move || converse(false, speeches, act));
    }
}

#[test]
fn fifo_sends_reach_a_vcpu_that_goes_to_sleep() {
    explore(PREEMPTIONS, || converse(true, TWO, take_and_block::<true>));
}

#[test]
fn fifo_sends_repeat() {
    explore(PREEMPTIONS, || converse(true, AGAIN, take_and_block::<true>));
}

#[test]
fn fifo_masks_hold_events_back_and_let_them_go() {
    let act = |guest: &mut Guest, machine: &Machine| {
        Guest::mask(machine, true, 1);
        guest.upcall(machine, true);
        Guest::unmask_fifo(machine, 1);
        machine.block();
    };
    for speeches in [ONCE, AGAIN] {
        explore(PREEMPTIONS, move || converse(true, speeches, act));
    }
}

/// The tail of the queue is masked and unmasked while the next port is linked to it: the busy bit's case.
#[test]
fn fifo_tails_are_unmasked_while_they_are_linked() {
    explore(PREEMPTIONS, || {
        converse(true, &[&[(2, 1)]], |guest, machine| {
            machine.say(1, 1);
            Guest::mask(machine, true, 1);
            Guest::unmask_fifo(machine, 1);
            guest.upcall(machine, true);
            machine.block();
        });
    });
}

/// A port moves to another queue between two events, while the guest empties the first.
#[test]
fn fifo_ports_move_between_queues() {
    explore(PREEMPTIONS, || {
        converse(true, &[&[(2, 1), (1, 2)]], |guest, machine| {
            machine.say(1, 1);
            machine.call(|hypervisor, _| hypervisor.table.set_priority(1, 0)).expect("a bound port");
            guest.upcall(machine, true);
            machine.block();
        });
    });
}

/// A guest that looks first and clears the flag afterwards, which is the mistake the order of the clearing is there
/// to prevent. If the model did not find this it would find nothing.
fn careless<const FIFO: bool>(guest: &mut Guest, machine: &Machine) {
    guest.upcall(machine, FIFO);
    guest::begin_upcall(machine);
    machine.block();
}

#[test]
#[should_panic(expected = "asleep: true")]
fn two_level_mistakes_are_found() {
    explore(PREEMPTIONS, || converse(false, TWO, careless::<false>));
}

#[test]
#[should_panic(expected = "asleep: true")]
fn fifo_mistakes_are_found() {
    explore(PREEMPTIONS, || converse(true, TWO, careless::<true>));
}
