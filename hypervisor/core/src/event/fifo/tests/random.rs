//! Three domains in both forms do what they can, in random order; after each step all books agree, and in the end no
//! event has been lost and no frame is held.

use super::world::{VCPUS, World};
use crate::addr::DomainId;
use crate::event::form::Form;
use crate::event::{Channel, PeerClosed, Port, Reset, Sent, SharedBits, audit, bind_interdomain};
use paravane_abi::errno::Errno;
use paravane_abi::event::{VIRQ_CONSOLE, VIRQ_TIMER};
use std::collections::BTreeMap;
use std::vec::Vec;

const DOMAINS: usize = 3;
const SEEDS: u64 = 800;
const STEPS: u32 = 120;

/// xorshift64*: small, and the same on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % u64::from(sides)) as u32
    }
}

type Outcomes = BTreeMap<(&'static str, Result<(), Errno>), u32>;

struct Machine {
    domains: Vec<World>,
    outcomes: Outcomes,
}

fn domain(index: usize) -> World {
    // One with few ports, so that it runs out of them.
    World::with_table(DomainId(index as u16 + 1), [6, 1023, 2047][index])
}

impl Machine {
    fn note<T>(&mut self, operation: &'static str, result: Result<T, Errno>) -> Option<T> {
        let kind = result.as_ref().map(|_| ()).map_err(|error| *error);
        *self.outcomes.entry((operation, kind)).or_default() += 1;
        result.ok()
    }

    fn is_fifo(&self, who: usize) -> bool {
        matches!(self.domains[who].table.form, Form::Fifo(_))
    }

    fn tell(&mut self, closed: Vec<PeerClosed>) {
        for peer in closed {
            self.domains[usize::from(peer.domain.0) - 1].table.peer_closed(peer);
        }
    }

    fn connect(&mut self, who: usize, other: usize, port: Port) {
        let result = if who == other {
            let World { table, memory, .. } = &mut self.domains[who];
            bind_interdomain(table, memory, None, port)
        } else {
            let [local, remote] = self.domains.get_disjoint_mut([who, other]).unwrap();
            bind_interdomain(&mut local.table, &local.memory, Some(&mut remote.table), port)
        };
        self.note("bind_interdomain", result);
    }

    fn send(&mut self, who: usize, port: Port) {
        let World { table, memory, .. } = &mut self.domains[who];
        let result = table.send(memory, port);
        if let Some(Sent::Remote(send)) = self.note("send", result) {
            let World { table, memory, .. } = &mut self.domains[usize::from(send.domain.0) - 1];
            let _ = table.deliver(memory, send);
        }
    }

    fn take(&mut self, who: usize, vcpu: u32) {
        if !self.domains[who].memory.upcall_pending(vcpu) {
            return;
        }
        if self.is_fifo(who) {
            self.domains[who].take(vcpu);
        } else {
            self.domains[who].take_two_level(vcpu);
        }
    }

    /// The guest masks a port it has.
    fn mask(&mut self, who: usize, port: Port) {
        let World { table, memory, .. } = &self.domains[who];
        if port == 0 || table.status(port).is_ok_and(|status| status.channel == Channel::Free) {
            return;
        }
        if self.is_fifo(who) {
            memory.mask(port);
        } else {
            memory.mask_bit(port);
        }
    }

    fn reset(&mut self, who: usize, dice: &mut Dice) {
        let (resuming, budget) = (dice.roll(2) == 0, [2, 200][dice.roll(2) as usize]);
        let mut told = Vec::new();
        let World { table, memory, .. } = &mut self.domains[who];
        let mut held: Vec<_> = table.held_frames().collect();
        let result = table.reset(memory, resuming, budget, |peer| told.push(peer));
        if let Some(Reset::Done { mut frames }) = self.note("reset", result) {
            held.sort();
            frames.sort();
            assert_eq!(frames, held);
            self.domains[who].clear_queues();
        }
        self.tell(told);
    }

    /// A domain dies, and another of its number begins.
    fn kill(&mut self, who: usize) {
        loop {
            let mut told = Vec::new();
            let World { table, memory, .. } = &mut self.domains[who];
            let held = table.held_frames().count();
            let step = table.destroy(memory, 3, |peer| told.push(peer));
            self.tell(told);
            self.audit();
            if let Reset::Done { frames } = step {
                assert_eq!(frames.len(), held);
                break;
            }
        }
        let World { table, memory, .. } = &mut self.domains[who];
        assert_eq!(table.active(), 0);
        assert_eq!(table.bind_ipi(memory, 0), Err(Errno::EINVAL));
        self.domains[who] = domain(who);
    }

    fn step(&mut self, dice: &mut Dice) {
        let who = dice.roll(DOMAINS as u32) as usize;
        let other = dice.roll(DOMAINS as u32) as usize;
        let vcpu = dice.roll(VCPUS as u32);
        let World { table, memory, .. } = &mut self.domains[who];
        let used: Vec<Port> =
            (1..64).filter(|port| table.status(*port).is_ok_and(|s| s.channel != Channel::Free)).collect();
        let port = match (dice.roll(8), used.len() as u32) {
            (0, _) | (_, 0) => dice.roll(70),
            (_, count) => used[dice.roll(count) as usize],
        };
        match dice.roll(32) {
            0 | 1 => {
                let result = table.alloc_unbound(memory, DomainId(1 + dice.roll(DOMAINS as u32) as u16));
                self.note("alloc_unbound", result);
            }
            2 | 3 => {
                let result = table.bind_ipi(memory, vcpu);
                self.note("bind_ipi", result);
            }
            4 => {
                let result = table.bind_virq(memory, [VIRQ_TIMER, VIRQ_CONSOLE][dice.roll(2) as usize], vcpu);
                self.note("bind_virq", result);
            }
            5 => drop(table.raise_virq(memory, VIRQ_TIMER, vcpu).map(|_| ())),
            6..=8 => {
                let waiting = Channel::Unbound { remote: DomainId(who as u16 + 1) };
                let peer = &self.domains[other].table;
                let meant = (1..64).find(|&port| peer.status(port).is_ok_and(|s| s.channel == waiting));
                self.connect(who, other, meant.unwrap_or(port));
            }
            9 => {
                let result = table.close(memory, port);
                let told = self.note("close", result).flatten();
                self.tell(told.into_iter().collect());
            }
            10..=16 => self.send(who, port),
            17 => {
                let result = table.bind_vcpu(port, vcpu);
                self.note("bind_vcpu", result);
            }
            18 | 19 => {
                let result = table.unmask(memory, port);
                self.note("unmask", result);
            }
            20 => self.mask(who, port),
            21 => {
                let result = table.set_priority(port, dice.roll(18));
                self.note("set_priority", result);
            }
            22..=25 => self.take(who, vcpu),
            26 => {
                // For all vcpus, as an event for one without queues is dropped.
                for vcpu in 0..VCPUS as u32 {
                    let result = self.domains[who].try_control(vcpu);
                    self.note("init_control", result);
                }
            }
            27 => {
                // The guest's memory has two pages of words.
                let pages = table.held_frames().count();
                if pages < 4 {
                    let result = self.domains[who].try_expand();
                    self.note("expand_array", result);
                }
            }
            28 => {
                let result = table.poll(memory, &[port]);
                self.note("poll", result);
            }
            29 if dice.roll(3) == 0 => self.reset(who, dice),
            30 if dice.roll(6) == 0 => self.kill(who),
            _ => {}
        }
    }

    fn audit(&self) {
        let tables: Vec<_> = self.domains.iter().map(|world| &world.table).collect();
        audit(&tables).unwrap();
    }

    /// When every vcpu has taken what it was told of, nothing waits that is not masked.
    fn nothing_is_lost(&mut self) {
        for who in 0..DOMAINS {
            (0..VCPUS as u32).for_each(|vcpu| self.take(who, vcpu));
            let fifo = self.is_fifo(who);
            let World { table, memory, .. } = &self.domains[who];
            for port in 1..64 {
                let bound = table.status(port).unwrap().channel != Channel::Free;
                let pending = table.form.is_pending(memory, port);
                let masked = if fifo { memory.word(port).is_masked() } else { memory.is_masked(port) };
                assert!(bound || !pending, "port {port} is free and pending");
                let status = table.status(port);
                assert!(
                    masked || !pending,
                    "port {port} of {} waits, and nobody knows: {status:?}, queues: {fifo}",
                    table.domain()
                );
            }
        }
    }
}

#[test]
fn random_sequences_lose_nothing_in_either_form() {
    let mut outcomes = Outcomes::new();
    for seed in 1..=SEEDS {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut machine = Machine { domains: (0..DOMAINS).map(domain).collect(), outcomes };
        for _ in 0..STEPS {
            machine.step(&mut dice);
            machine.audit();
        }
        machine.nothing_is_lost();
        (0..DOMAINS).for_each(|who| machine.kill(who));
        outcomes = machine.outcomes;
    }
    let total: u32 = outcomes.values().sum();
    let good: u32 = outcomes.iter().filter(|((_, result), _)| result.is_ok()).map(|(_, count)| count).sum();
    for ((operation, result), count) in &outcomes {
        std::println!("{operation:18} {result:?} {count}");
    }
    assert!(good * 2 > total, "{good} of {total} succeeded: too few to mean anything");
    for expected in [
        ("alloc_unbound", Err(Errno::ENOSPC)),
        ("bind_interdomain", Ok(())),
        ("bind_interdomain", Err(Errno::EINVAL)),
        ("bind_virq", Err(Errno::EEXIST)),
        ("close", Ok(())),
        ("set_priority", Ok(())),
        ("set_priority", Err(Errno::ENOSYS)),
        ("set_priority", Err(Errno::EACCES)),
        ("set_priority", Err(Errno::EINVAL)),
        ("init_control", Ok(())),
        ("init_control", Err(Errno::EINVAL)),
        ("expand_array", Ok(())),
        ("expand_array", Err(Errno::EOPNOTSUPP)),
        ("reset", Ok(())),
        ("reset", Err(Errno::EBUSY)),
    ] {
        assert!(outcomes.contains_key(&expected), "{expected:?} never occurred");
    }
}
