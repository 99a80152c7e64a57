//! The guest's side of both forms, as Linux has it (`drivers/xen/events`).

use crate::memory::{INFO, MASK, Machine, PENDING, PORTS, READY, SELECTOR, event_word, head};
use paravane_abi::event::fifo::EventWord;
use paravane_core::event::{GuestWords, Place, Port};

/// A vcpu's kernel.
#[derive(Default)]
pub struct Guest {
    /// What it heard last from each port.
    pub heard: [u32; PORTS],
    /// Where it is in each queue.
    heads: [Port; 16],
}

fn shift(at: Place) -> u32 {
    at.offset as u32 % 8 * 8
}

/// Clears bits of a word of 32 bits; what it was.
fn clear32(machine: &Machine, at: Place, bits: u32) -> u32 {
    (machine.words.clear(at, u64::from(bits) << shift(at)) >> shift(at)) as u32
}

/// Whether an upcall is due.
pub fn upcall_pending(machine: &Machine) -> bool {
    machine.words.load(INFO) & 0xff != 0
}

/// Clears the pending flag.
pub fn begin_upcall(machine: &Machine) {
    machine.words.clear(INFO, 0xff);
}

impl Guest {
    /// The upcall of the two-level form.
    pub fn upcall_two_level(&mut self, machine: &Machine) {
        begin_upcall(machine);
        if machine.words.clear(SELECTOR, u64::MAX) & 1 == 0 {
            return;
        }
        let mask = machine.words.load(MASK);
        let ready = machine.words.load(PENDING) & !mask;
        for port in (1..PORTS as u32).filter(|port| ready >> port & 1 != 0) {
            machine.words.clear(PENDING, 1 << port);
            self.heard[port as usize] = machine.heard(port);
        }
    }

    /// The upcall of the FIFO form.
    pub fn upcall_fifo(&mut self, machine: &Machine) {
        begin_upcall(machine);
        let mut ready = clear32(machine, READY, u32::MAX);
        while ready != 0 {
            let priority = ready.trailing_zeros() as usize;
            let mut port = self.heads[priority];
            if port == 0 {
                port = machine.words.load32(head(priority));
            }
            let word = event_word(port);
            let next = clear32(machine, word, EventWord::LINKED | EventWord::LINK) & EventWord::LINK;
            self.heads[priority] = next;
            if next == 0 {
                ready &= !(1 << priority);
            }
            let now = EventWord(machine.words.load32(word));
            if now.is_pending() && !now.is_masked() {
                clear32(machine, word, EventWord::PENDING);
                self.heard[port as usize] = machine.heard(port);
            }
            ready |= clear32(machine, READY, u32::MAX);
        }
    }

    /// Masks a port, by the word of either form.
    pub fn mask(machine: &Machine, fifo: bool, port: Port) {
        if fifo {
            let word = event_word(port);
            machine.words.set(word, u64::from(EventWord::MASKED) << shift(word));
        } else {
            machine.words.set(MASK, 1 << port);
        }
    }

    /// Unmasks a port of the FIFO form: without the hypervisor if nothing is pending.
    pub fn unmask_fifo(machine: &Machine, port: Port) {
        let at = event_word(port);
        loop {
            let word = EventWord(machine.words.load32(at));
            if word.is_pending() {
                return machine.unmask(port);
            }
            let new = word.0 & !EventWord::MASKED;
            if !word.is_busy() && machine.words.compare_exchange32(at, word.0, new).is_ok() {
                return;
            }
            loom::thread::yield_now();
        }
    }

    /// Unmasks a port of the two-level form on the vcpu that it notifies: clears the bit, and if the event is pending
    /// does the hypervisor's part itself.
    pub fn unmask_two_level(machine: &Machine, port: Port) {
        machine.words.clear(MASK, 1 << port);
        if machine.words.load(PENDING) >> port & 1 != 0 {
            machine.words.set(SELECTOR, 1);
            machine.words.set(INFO, 1);
        }
    }
}
