//! A ticket lock for virtual CPUs: whoever waits long stops using its processor until the lock's turn comes to it.
//!
//! A plain spin lock is bad for a guest: the vcpu that holds it may not be running, and those that spin take the
//! processor it needs; with tickets the next in line may not be running either. So a waiter that has spun for a while
//! says which ticket it waits for and parks; who hands the lock over wakes it.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// How a CPU stops and starts again.
pub trait Park {
    /// Forgets wake-ups sent to this CPU so far.
    fn prepare(&self, cpu: u32);
    /// Waits for a wake-up sent since `prepare`. May return early.
    fn park(&self, cpu: u32);
    /// Wakes a CPU up.
    fn kick(&self, cpu: u32);
}

/// Looks at the lock before parking.
const SPINS: u32 = 1 << 10;
/// In a CPU's slot: it is parked, for the ticket in the low half.
const PARKED: u64 = 1 << 32;

/// The lock, for CPUs numbered below `CPUS`.
pub struct TicketLock<const CPUS: usize> {
    next: AtomicU32,
    serving: AtomicU32,
    /// The holder's number and 1, or 0.
    holder: AtomicU32,
    waiting: [AtomicU64; CPUS],
    parks: AtomicU64,
}

impl<const CPUS: usize> TicketLock<CPUS> {
    /// A lock that nobody holds.
    #[expect(clippy::new_without_default, reason = "made once, in a static")]
    pub const fn new() -> Self {
        Self {
            next: AtomicU32::new(0),
            serving: AtomicU32::new(0),
            holder: AtomicU32::new(0),
            waiting: [const { AtomicU64::new(0) }; CPUS],
            parks: AtomicU64::new(0),
        }
    }

    /// Whether this CPU holds the lock. Only the CPU itself may ask.
    pub fn is_held_by(&self, cpu: u32) -> bool {
        self.holder.load(Ordering::Relaxed) == cpu + 1
    }

    /// How often a CPU parked.
    pub fn parks(&self) -> u64 {
        self.parks.load(Ordering::Relaxed)
    }

    /// Takes the lock, in the order of asking.
    pub fn lock(&self, cpu: u32, park: &impl Park) {
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        let is_ours = || self.serving.load(Ordering::Acquire) == ticket;
        let mut spins = 0;
        while !is_ours() {
            if spins == SPINS {
                self.wait_parked(cpu, ticket, park);
                break;
            }
            core::hint::spin_loop();
            spins += 1;
        }
        self.holder.store(cpu + 1, Ordering::Relaxed);
    }

    #[cold]
    fn wait_parked(&self, cpu: u32, ticket: u32, park: &impl Park) {
        let slot = &self.waiting[cpu as usize];
        loop {
            park.prepare(cpu);
            slot.store(PARKED | u64::from(ticket), Ordering::SeqCst);
            // Pairs with the fence in `unlock`: either the new `serving` is seen here or the slot is seen there.
            fence(Ordering::SeqCst);
            if self.serving.load(Ordering::Acquire) == ticket {
                break;
            }
            self.parks.fetch_add(1, Ordering::Relaxed);
            park.park(cpu);
        }
        slot.store(0, Ordering::Relaxed);
    }

    /// Hands the lock to the next in line.
    pub fn unlock(&self, park: &impl Park) {
        self.holder.store(0, Ordering::Relaxed);
        let now = self.serving.load(Ordering::Relaxed).wrapping_add(1);
        self.serving.store(now, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.next.load(Ordering::Relaxed) == now {
            return;
        }
        let wanted = PARKED | u64::from(now);
        if let Some(cpu) = self.waiting.iter().position(|slot| slot.load(Ordering::SeqCst) == wanted) {
            park.kick(cpu as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::sync::{Condvar, Mutex};
    use std::time::Duration;

    const CPUS: usize = 4;

    /// Wake-ups as flags, as a masked event channel's pending bit is one.
    #[derive(Default)]
    struct Flags {
        pending: Mutex<[bool; CPUS]>,
        changed: Condvar,
        lost: AtomicBool,
    }

    impl Park for Flags {
        fn prepare(&self, cpu: u32) {
            self.pending.lock().unwrap()[cpu as usize] = false;
        }

        fn park(&self, cpu: u32) {
            let pending = self.pending.lock().unwrap();
            let limit = Duration::from_secs(20);
            let wait = self.changed.wait_timeout_while(pending, limit, |pending| !pending[cpu as usize]);
            if wait.unwrap().1.timed_out() {
                self.lost.store(true, Ordering::SeqCst);
            }
        }

        fn kick(&self, cpu: u32) {
            self.pending.lock().unwrap()[cpu as usize] = true;
            self.changed.notify_all();
        }
    }

    #[test]
    fn one_holder_at_a_time_and_no_wake_up_lost() {
        const ROUNDS: u64 = 3000;
        let lock = TicketLock::<CPUS>::new();
        let park = Flags::default();
        // Read and written apart: two holders at once would lose counts.
        let count = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for cpu in 0..CPUS as u32 {
                let (lock, park, count) = (&lock, &park, &count);
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        lock.lock(cpu, park);
                        assert!(lock.is_held_by(cpu));
                        let seen = count.load(Ordering::Relaxed);
                        if round % 64 == 0 {
                            // Long enough that the others stop spinning.
                            std::thread::sleep(Duration::from_micros(200));
                        }
                        count.store(seen + 1, Ordering::Relaxed);
                        lock.unlock(park);
                        assert!(!lock.is_held_by(cpu));
                    }
                });
            }
        });
        assert!(!park.lost.load(Ordering::SeqCst), "a parked waiter was not woken");
        assert_eq!(count.load(Ordering::Relaxed), ROUNDS * CPUS as u64);
        assert!(lock.parks() > 0, "nobody ever parked: the test did not contend");
    }

    #[test]
    fn tickets_wrap() {
        let lock = TicketLock::<CPUS>::new();
        lock.next.store(u32::MAX, Ordering::Relaxed);
        lock.serving.store(u32::MAX, Ordering::Relaxed);
        let park = Flags::default();
        for _ in 0..3 {
            lock.lock(2, &park);
            lock.unlock(&park);
        }
        assert_eq!(lock.next.load(Ordering::Relaxed), 2);
    }
}
