//! Every interleaving of a processor that changes a mapping and releases what it mapped with another one that runs
//! the guest, enters and leaves: nobody uses a translation after its page has been released. The protocol is
//! `core::shootdown`'s own code, on loom's atomics; the guest's processor is modelled with a TLB of one entry.

use core::sync::atomic::Ordering;

use loom::model::Builder;
use loom::sync::atomic::{AtomicBool, AtomicU64, fence};
use loom::sync::{Arc, Mutex};
use loom::thread;
use paravane_core::shootdown::{InGuest, Word, call_in};

/// Switches away from a thread that could go on, at most, in one run.
const PREEMPTIONS: usize = 3;

struct Model(AtomicU64);

impl Word for Model {
    fn load(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    fn store(&self, value: u64, order: Ordering) {
        self.0.store(value, order);
    }

    fn swap(&self, value: u64, order: Ordering) -> u64 {
        self.0.swap(value, order)
    }

    fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        self.0.fetch_add(value, order)
    }

    fn fence() {
        fence(Ordering::SeqCst);
    }
}

struct Machine {
    /// The hypervisor's.
    lock: Mutex<()>,
    clock: Model,
    in_guest: InGuest<Model>,
    /// A page-table entry, as the number of the page it names.
    entry: AtomicU64,
    /// Pages below this number have been released.
    released: AtomicU64,
    interrupt: AtomicBool,
}

/// The processor that runs the guest.
struct Guest<'a> {
    machine: &'a Machine,
    tlb: Option<u64>,
    /// Marks itself only after it has loaded CR3, as it must not.
    careless: bool,
}

impl Guest<'_> {
    fn load_cr3(&mut self) {
        self.tlb = None;
        fence(Ordering::SeqCst);
    }

    fn leave(&mut self) {
        if self.careless {
            self.load_cr3();
            self.touch();
            self.machine.in_guest.leaves(&self.machine.clock);
        } else {
            self.machine.in_guest.leaves(&self.machine.clock);
            self.load_cr3();
        }
    }

    fn enter(&mut self) {
        self.load_cr3();
        self.machine.in_guest.entered();
    }

    /// Uses the page as a program does: by the TLB if it is there, else by a walk.
    fn touch(&mut self) {
        let page = *self.tlb.get_or_insert_with(|| self.machine.entry.load(Ordering::Relaxed));
        let released = self.machine.released.load(Ordering::Relaxed);
        assert!(page >= released, "page {page} is used, but those below {released} have been released");
    }

    /// The interrupt is a flush: there and back without the lock.
    fn take_interrupt(&mut self) {
        if self.machine.interrupt.swap(false, Ordering::AcqRel) {
            self.enter();
            self.leave();
        }
    }

    /// An entry for another reason, which takes the lock.
    fn hypercall(&mut self) {
        self.enter();
        let guard = self.machine.lock.lock().unwrap();
        self.machine.in_guest.leaves(&self.machine.clock);
        drop(guard);
        self.load_cr3();
    }
}

/// Names the next page, has the other processor forget the last one, and releases it.
fn replace(machine: &Machine, page: u64) {
    let guard = machine.lock.lock().unwrap();
    machine.entry.store(page, Ordering::Relaxed);
    call_in(
        &machine.clock,
        [(1, &machine.in_guest)].into_iter(),
        |_, _| true,
        |_| machine.interrupt.store(true, Ordering::Release),
        |_, entered| {
            while !entered() {
                thread::yield_now();
            }
        },
    );
    machine.released.store(page, Ordering::Relaxed);
    drop(guard);
}

fn explore(replacements: u64, careless: bool, act: fn(&mut Guest<'_>)) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(move || {
        let machine = Arc::new(Machine {
            lock: Mutex::new(()),
            clock: Model(AtomicU64::new(1)),
            in_guest: InGuest::new(Model(AtomicU64::new(0))),
            entry: AtomicU64::new(0),
            released: AtomicU64::new(0),
            interrupt: AtomicBool::new(false),
        });
        let theirs = machine.clone();
        let other = thread::spawn(move || {
            let mut guest = Guest { machine: &theirs, tlb: None, careless };
            guest.leave();
            act(&mut guest);
            guest.enter();
        });
        (1..=replacements).for_each(|page| replace(&machine, page));
        other.join().expect("the guest has run");
        assert_eq!(machine.released.load(Ordering::Relaxed), replacements);
    });
}

#[test]
fn an_interrupted_guest_forgets() {
    explore(1, false, |guest| {
        guest.touch();
        guest.take_interrupt();
        guest.touch();
    });
}

/// Twice in a row: the second call must not take the state after the first for an answer.
#[test]
fn every_call_is_answered_anew() {
    explore(2, false, |guest| {
        guest.touch();
        guest.take_interrupt();
        guest.touch();
        guest.take_interrupt();
        guest.touch();
    });
}

#[test]
fn entries_for_other_reasons_wait_for_the_lock_and_are_not_waited_for() {
    explore(2, false, |guest| {
        guest.touch();
        guest.hypercall();
        guest.touch();
        guest.take_interrupt();
        guest.touch();
    });
}

/// That the model finds mistakes: a processor that marks itself too late.
#[test]
#[should_panic(expected = "have been released")]
fn marking_oneself_late_is_found() {
    explore(1, true, |guest| guest.touch());
}
