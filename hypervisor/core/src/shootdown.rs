//! How a processor has others forget their translations: which are in a guest, and the wait until they have come
//! out of it. `docs/soundness.md` tells the protocol, and `tests/loom_shootdown` tries its every interleaving.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use crate::cmdline::MAX_CPUS;

/// An atomic word, and the fence that goes with it: the processor's, or a model's.
pub trait Word {
    /// Reads it.
    fn load(&self, order: Ordering) -> u64;
    /// Writes it.
    fn store(&self, value: u64, order: Ordering);
    /// Writes it in one locked step. The answer is what it was.
    fn swap(&self, value: u64, order: Ordering) -> u64;
    /// Adds to it in one locked step. The answer is what it was.
    fn fetch_add(&self, value: u64, order: Ordering) -> u64;
    /// A full barrier.
    fn fence();
}

impl Word for AtomicU64 {
    #[inline]
    fn load(&self, order: Ordering) -> u64 {
        self.load(order)
    }

    #[inline]
    fn store(&self, value: u64, order: Ordering) {
        self.store(value, order);
    }

    #[inline]
    fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.swap(value, order)
    }

    #[inline]
    fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        self.fetch_add(value, order)
    }

    #[inline]
    fn fence() {
        fence(Ordering::SeqCst);
    }
}

/// Whether a processor is in a guest, and since when: the flush clock when it last left for one, and 0 while it is
/// in the hypervisor, where it holds no translation of a guest's.
#[derive(Debug, Default)]
pub struct InGuest<W = AtomicU64>(W);

impl<W: Word> InGuest<W> {
    /// A word that says 0 yet.
    pub const fn new(word: W) -> Self {
        Self(word)
    }

    /// Called first thing after an entry from a guest: its load of CR3 has dropped every translation.
    #[inline]
    pub fn entered(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Called last thing before an exit to a guest, whose load of CR3, which serialises, drops every translation.
    /// Whoever changed a mapping and then sees this store interrupts the processor; whoever looked too early has
    /// it walk the tables as they are now.
    #[inline]
    pub fn leaves(&self, clock: &W) {
        self.0.swap(clock.load(Ordering::Relaxed), Ordering::SeqCst);
    }

    /// The flush clock when the processor last left for the guest it is in; 0 while it is in none.
    #[inline]
    pub fn since(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Has every processor that is in a guest, and of which `concerned` says so, given its number and when it left,
/// enter the hypervisor: `interrupt` interrupts it, and `wait` returns once the condition it is given holds.
/// `others` are the words of all processors but this one, by number, which is below [`MAX_CPUS`].
pub fn call_in<'a, W: Word + 'a>(
    clock: &W,
    others: impl Iterator<Item = (usize, &'a InGuest<W>)> + Clone,
    concerned: impl Fn(usize, u64) -> bool,
    interrupt: impl Fn(usize),
    wait: impl Fn(usize, &dyn Fn() -> bool),
) {
    // The clock advances first, so that a processor that is back in a guest when it is looked at again shows
    // another time.
    clock.fetch_add(1, Ordering::SeqCst);
    // What was written to tables is visible before a processor is taken to be in the hypervisor.
    W::fence();
    let mut called = [0; MAX_CPUS];
    for (number, word) in others.clone() {
        let since = word.since();
        if since != 0 && concerned(number, since) {
            interrupt(number);
            called[number] = since;
        }
    }
    for (number, word) in others {
        let since = called[number];
        if since != 0 {
            wait(number, &|| word.since() != since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use core::cell::RefCell;

    #[test]
    fn only_who_is_in_a_guest_and_concerned_is_called_and_waited_for() {
        let clock = AtomicU64::new(5);
        let words: Vec<InGuest> = (0..4).map(|_| InGuest::default()).collect();
        words[1].leaves(&clock);
        words[2].leaves(&clock);
        words[3].leaves(&clock);
        words[3].entered();
        assert_eq!([0, 1, 2, 3].map(|cpu: usize| words[cpu].since()), [0, 5, 5, 0]);
        let (called, waited) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let others = words.iter().enumerate().skip(1);
        let wait = |cpu: usize, done: &dyn Fn() -> bool| {
            assert!(!done(), "waited for a processor that has entered");
            // It enters, and is back in its guest before anybody looks.
            words[cpu].entered();
            words[cpu].leaves(&clock);
            assert!(done(), "an entry and an exit went unseen");
            waited.borrow_mut().push(cpu);
        };
        call_in(
            &clock,
            others,
            |cpu, since| cpu != 2 && since <= 5,
            |cpu| called.borrow_mut().push(cpu),
            wait,
        );
        assert_eq!((called.into_inner(), waited.into_inner()), (Vec::from([1]), Vec::from([1])));
        assert_eq!(clock.load(Ordering::Relaxed), 6);
    }
}
