//! Locks, and the order in which they are taken.
//!
//! # The rule
//!
//! A processor that holds a lock takes only locks of a higher [`Rank`]; it never takes two of the same. No
//! interrupt handler in ring 0 takes any: interrupts are taken there only while nothing is held, and NMI, #DF and
//! #MC either take none or end the machine. So no circle of processors that wait for each other can form.
//!
//! | rank | lock | held while |
//! |---|---|---|
//! | [`Rank::Watchdog`] | who was seen where, by the watchdog | a processor looks at the others; only tried, never waited for |
//! | [`Rank::Hypervisor`] | everything that is decided: [`crate::hypervisor::Hypervisor`] | an entry from a guest is served; never while a guest runs |
//! | [`Rank::Serial`] | the serial port: log and consoles | a line is written |
//! | [`Rank::Heap`] | the heap | memory is allocated or freed, by whoever holds any of the others |
//!
//! What processors tell each other without a lock (flush requests, in-guest marks) is atomic, and
//! `docs/soundness.md` argues for it.
//!
//! With debug assertions each processor keeps the ranks it holds, and taking one out of order is a panic with both
//! names. Without them a [`Lock`] is a spin lock with a queue and nothing else.
//!
//! # Turns
//!
//! Processors that wait get the lock in the order in which they came, and whoever comes while somebody waits waits
//! too. Otherwise a guest that does nothing but make hypercalls could take the lock again and again from under a
//! processor that has waited for longer.

use core::fmt;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use spin::{Mutex, MutexGuard};

/// The place of a lock in the order: lower ones are taken first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rank {
    /// The watchdog's notes.
    Watchdog,
    /// The hypervisor's state.
    Hypervisor,
    /// The serial port.
    Serial,
    /// The heap.
    Heap,
}

impl Rank {
    /// All, lowest first.
    const ALL: [Self; 4] = [Self::Watchdog, Self::Hypervisor, Self::Serial, Self::Heap];

    const fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// Where a processor keeps the ranks it holds.
pub trait Held {
    /// Calls `look` with this processor's word; not at all while there is none, early in boot, when there is one
    /// processor and nobody to wait for.
    fn with(look: impl FnOnce(&AtomicU64));
}

/// Books that a lock is taken. For locks that are not a [`Lock`], such as an allocator's; called before it is waited
/// for.
///
/// # Panics
/// With debug assertions, when a lock of the same rank or a higher one is held.
#[inline]
pub fn taking<H: Held>(rank: Rank) {
    check::<H>(rank);
    book::<H>(rank);
}

/// Whether a lock may be taken now.
#[inline]
fn check<H: Held>(rank: Rank) {
    if cfg!(debug_assertions) {
        H::with(|word| {
            let held = word.load(Ordering::Relaxed);
            let highest = Rank::ALL.into_iter().rev().find(|other| held & other.bit() != 0);
            if let Some(highest) = highest.filter(|highest| *highest >= rank) {
                out_of_order(highest, rank);
            }
        });
    }
}

/// Books a lock that has been taken. Nobody but this processor writes its word.
#[inline]
fn book<H: Held>(rank: Rank) {
    if cfg!(debug_assertions) {
        H::with(|word| word.store(word.load(Ordering::Relaxed) | rank.bit(), Ordering::Relaxed));
    }
}

#[cold]
fn out_of_order(held: Rank, wanted: Rank) -> ! {
    panic!("locks out of order: {wanted:?} is taken while {held:?} is held");
}

/// Books that a lock has been given up.
#[inline]
pub fn released<H: Held>(rank: Rank) {
    if cfg!(debug_assertions) {
        H::with(|word| word.store(word.load(Ordering::Relaxed) & !rank.bit(), Ordering::Relaxed));
    }
}

/// A spin lock with a place in the order, and a queue.
pub struct Lock<T, H> {
    rank: Rank,
    held: PhantomData<fn() -> H>,
    /// Those who ever had to wait, and those of them who got the lock: the next one's number.
    arrived: AtomicU32,
    served: AtomicU32,
    inner: Mutex<T>,
}

impl<T, H: Held> Lock<T, H> {
    /// An unlocked lock.
    pub const fn new(rank: Rank, value: T) -> Self {
        Self {
            rank,
            held: PhantomData,
            arrived: AtomicU32::new(0),
            served: AtomicU32::new(0),
            inner: Mutex::new(value),
        }
    }

    /// Takes the lock, waiting for it.
    ///
    /// # Panics
    /// With debug assertions, when a lock of the same rank or a higher one is held.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T, H> {
        self.lock_while(core::hint::spin_loop)
    }

    /// As [`Self::lock`]; calls `meanwhile` again and again while it waits.
    #[inline]
    pub fn lock_while(&self, meanwhile: impl FnMut()) -> Guard<'_, T, H> {
        check::<H>(self.rank);
        let inner = match self.take_if_free() {
            Some(inner) => inner,
            None => self.wait(meanwhile),
        };
        self.taken(inner)
    }

    /// Takes the lock if nobody has it and nobody waits for it.
    #[inline]
    fn take_if_free(&self) -> Option<MutexGuard<'_, T>> {
        // What is seen here only decides who goes first; the lock itself orders what it guards.
        if self.arrived.load(Ordering::Relaxed) != self.served.load(Ordering::Relaxed) {
            return None;
        }
        self.inner.try_lock()
    }

    #[inline]
    fn taken<'a>(&self, inner: MutexGuard<'a, T>) -> Guard<'a, T, H> {
        book::<H>(self.rank);
        Guard {
            #[cfg(debug_assertions)]
            rank: self.rank,
            held: PhantomData,
            inner,
        }
    }

    #[cold]
    fn wait(&self, mut meanwhile: impl FnMut()) -> MutexGuard<'_, T> {
        let number = self.arrived.fetch_add(1, Ordering::Relaxed);
        loop {
            meanwhile();
            // Look before the locked instruction: whoever has the lock needs its cache line.
            if self.served.load(Ordering::Relaxed) == number
                && !self.inner.is_locked()
                && let Some(inner) = self.inner.try_lock()
            {
                // Only the one who has the lock, having waited for it, writes here.
                self.served.store(number.wrapping_add(1), Ordering::Relaxed);
                return inner;
            }
        }
    }

    /// Takes the lock if nobody holds it, nor waits for it.
    ///
    /// # Panics
    /// With debug assertions, as [`Self::lock`].
    #[inline]
    pub fn try_lock(&self) -> Option<Guard<'_, T, H>> {
        check::<H>(self.rank);
        Some(self.taken(self.take_if_free()?))
    }

    /// Whether anybody holds it just now.
    pub fn is_locked(&self) -> bool {
        self.inner.is_locked()
    }
}

impl<T, H> fmt::Debug for Lock<T, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("rank", &self.rank).field("locked", &self.inner.is_locked()).finish()
    }
}

/// What a [`Lock`] guards, while it is held.
#[must_use = "the lock is given up when this is dropped"]
pub struct Guard<'a, T, H: Held> {
    #[cfg(debug_assertions)]
    rank: Rank,
    held: PhantomData<fn() -> H>,
    inner: MutexGuard<'a, T>,
}

impl<T, H: Held> Deref for Guard<'_, T, H> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T, H: Held> DerefMut for Guard<'_, T, H> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

#[cfg(debug_assertions)]
impl<T, H: Held> Drop for Guard<'_, T, H> {
    fn drop(&mut self) {
        released::<H>(self.rank);
    }
}

impl<T: fmt::Debug, H: Held> fmt::Debug for Guard<'_, T, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;
    use alloc::vec::Vec;
    use core::sync::atomic::AtomicUsize;
    use std::sync::Arc;
    use std::thread;

    std::thread_local! {
        static HELD: AtomicU64 = const { AtomicU64::new(0) };
    }

    /// A thread stands for a processor.
    struct Thread;

    impl Held for Thread {
        fn with(look: impl FnOnce(&AtomicU64)) {
            HELD.with(look);
        }
    }

    type Ranked<T> = Lock<T, Thread>;

    fn held() -> u64 {
        HELD.with(|word| word.load(Ordering::Relaxed))
    }

    /// What `taking` out of order says, on a thread of its own: a panic leaves ranks booked.
    fn panics(run: impl FnOnce() + Send + 'static) -> Option<String> {
        let result = thread::spawn(run).join();
        result.err().map(|cause| *cause.downcast::<String>().expect("a panic with a text"))
    }

    #[test]
    fn rising_order_passes_and_nothing_stays_booked() {
        let locks = Rank::ALL.map(|rank| Ranked::new(rank, 0));
        for _ in 0..2 {
            let guards = locks.each_ref().map(|lock| {
                let mut guard = lock.lock();
                *guard += 1;
                guard
            });
            assert_eq!(held(), 0b1111);
            drop(guards);
            assert_eq!(held(), 0);
        }
        assert_eq!(locks.each_ref().map(|lock| *lock.lock()), [2; 4]);
        // Skipping ranks, and giving up in another order than taking.
        let (low, high) = (locks[0].lock(), locks[3].lock());
        drop(low);
        assert_eq!(held(), Rank::Heap.bit());
        drop(high);
        drop(locks[1].lock());
        assert_eq!(held(), 0);
    }

    #[test]
    fn every_falling_pair_panics_with_both_names() {
        for low in Rank::ALL {
            for high in Rank::ALL.into_iter().filter(|high| *high >= low) {
                let said = panics(move || {
                    let (first, second) = (Ranked::new(high, ()), Ranked::new(low, ()));
                    let _first = first.lock();
                    drop(second.lock());
                });
                let said = said.unwrap_or_else(|| panic!("{low:?} under {high:?} was let through"));
                assert!(said.contains(&format!("{low:?} is taken while {high:?} is held")), "{said}");
            }
        }
    }

    #[test]
    fn tries_and_locks_of_other_kinds_are_checked_too() {
        let said = panics(|| {
            let (first, second) = (Ranked::new(Rank::Heap, ()), Ranked::new(Rank::Serial, ()));
            let _first = first.lock();
            drop(second.try_lock());
        });
        assert!(said.is_some(), "a try out of order was let through");
        let said = panics(|| {
            taking::<Thread>(Rank::Serial);
            drop(Ranked::new(Rank::Hypervisor, ()).lock());
        });
        assert!(said.is_some(), "a lock under another kind of lock was let through");
        taking::<Thread>(Rank::Heap);
        released::<Thread>(Rank::Heap);
        assert_eq!(held(), 0);
    }

    /// A lock out of order that somebody else holds is a panic too, not a wait for ever.
    #[test]
    fn the_order_is_checked_before_the_wait() {
        let contended = Arc::new(Ranked::new(Rank::Hypervisor, ()));
        let theirs = contended.clone();
        let _mine = contended.lock();
        let said = panics(move || {
            let serial = Ranked::new(Rank::Serial, ());
            let _serial = serial.lock();
            drop(theirs.lock());
        });
        assert!(said.is_some());
    }

    #[test]
    fn a_try_fails_while_the_lock_is_held_and_books_nothing() {
        let lock = Ranked::new(Rank::Hypervisor, ());
        assert!(!lock.is_locked());
        let guard = lock.lock();
        assert!(lock.is_locked());
        thread::scope(|scope| {
            scope.spawn(|| {
                assert!(lock.try_lock().is_none());
                assert_eq!(held(), 0);
            });
        });
        drop(guard);
        assert!(lock.try_lock().is_some());
    }

    #[test]
    fn what_a_waiter_does_meanwhile_may_take_lower_locks() {
        let (lock, notes) = (Ranked::new(Rank::Hypervisor, 0), Ranked::new(Rank::Watchdog, ()));
        let waiting = AtomicUsize::new(0);
        let guard = lock.lock();
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut guard = lock.lock_while(|| {
                    drop(notes.try_lock());
                    waiting.fetch_add(1, Ordering::Relaxed);
                });
                *guard += 1;
            });
            while waiting.load(Ordering::Relaxed) < 3 {
                thread::yield_now();
            }
            drop(guard);
        });
        assert_eq!(*lock.lock(), 1);
    }

    /// Two wait, one after the other; they get the lock in that order, and nobody gets it before them.
    #[test]
    fn those_who_wait_go_first_and_in_order() {
        let lock = Ranked::new(Rank::Hypervisor, Vec::new());
        let guard = lock.lock();
        thread::scope(|scope| {
            for number in 0..2 {
                let waits = AtomicUsize::new(0);
                let (lock, waits) = (&lock, Arc::new(waits));
                let seen = waits.clone();
                scope.spawn(move || {
                    lock.lock_while(|| {
                        seen.fetch_add(1, Ordering::Relaxed);
                    })
                    .push(number);
                });
                while waits.load(Ordering::Relaxed) == 0 {
                    thread::yield_now();
                }
            }
            drop(guard);
            assert_eq!(*lock.lock(), [0, 1]);
        });
        assert!(lock.try_lock().is_some(), "nobody waits any more");
    }

    /// Whoever comes again and again does not keep another from the lock: once that one waits, its turn is next.
    #[test]
    fn one_that_comes_again_and_again_stalls_nobody() {
        let lock = Ranked::new(Rank::Hypervisor, false);
        let waits = AtomicUsize::new(0);
        let mut guard = lock.lock();
        thread::scope(|scope| {
            scope.spawn(|| {
                *lock.lock_while(|| {
                    waits.fetch_add(1, Ordering::Relaxed);
                }) = true
            });
            while waits.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
            for _ in 0..2 {
                drop(guard);
                guard = lock.lock();
                assert!(*guard, "it was overtaken by the one that had the lock before");
            }
            drop(guard);
        });
    }

    #[test]
    fn threads_exclude_each_other() {
        let lock = Ranked::new(Rank::Hypervisor, 0u64);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let mut guard = lock.lock();
                        let seen = *guard;
                        core::hint::spin_loop();
                        *guard = seen + 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), 4000);
    }
}
