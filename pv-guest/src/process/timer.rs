//! Processes that sleep, and each CPU's timer, which sleepers and the scheduler share: it is set to the CPU's slice end or
//! the first sleeper's time, whichever comes first, so some CPU always wakes the sleepers.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

use spin::Mutex;

use super::wait::WaitQueue;
use super::{Process, current_arc, sched};
use crate::cpu;
use crate::cpu_ops::machine;
use crate::errno::Result;
use crate::time::monotonic_ns;

/// A sleeper's key: its deadline, and a number to tell equal ones apart.
pub(super) type Key = (u64, u64);

static SLEEPERS: Mutex<BTreeMap<Key, Arc<Process>>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Puts the current process on the list of sleepers.
pub(super) fn add(deadline: u64) -> Key {
    let key = (deadline, NEXT.fetch_add(1, Ordering::Relaxed));
    SLEEPERS.lock().insert(key, current_arc());
    arm();
    key
}

/// Takes it off again, if it is still there.
pub(super) fn cancel(key: Key) {
    SLEEPERS.lock().remove(&key);
}

/// Asks this CPU for a timer event at the earliest deadline. A later one than is armed stays: the event then finds nothing due
/// and arms again.
pub(super) fn arm() {
    let sleeper = SLEEPERS.lock().first_key_value().map(|(key, _)| key.0);
    let Some(deadline) = sleeper.into_iter().chain(sched::slice_end()).min() else { return };
    let armed = &cpu::this().armed;
    if deadline < armed.load(Ordering::Relaxed) {
        armed.store(deadline, Ordering::Relaxed);
        machine().set_timer(Some(deadline.max(1)));
    }
}

/// The timer event: wakes sleepers whose time has come and ends the time slice.
pub fn tick() {
    let now = monotonic_ns();
    cpu::this().armed.store(u64::MAX, Ordering::Relaxed);
    loop {
        let due = {
            let mut sleepers = SLEEPERS.lock();
            match sleepers.first_key_value() {
                Some((&key, _)) if key.0 <= now => sleepers.remove(&key),
                _ => None,
            }
        };
        match due {
            Some(process) => sched::wake(&process),
            None => break,
        }
    }
    sched::slice_tick(now);
    arm();
}

/// Sleeps until a monotonic time.
pub fn sleep_until(deadline_ns: u64) -> Result<()> {
    static NOBODY: WaitQueue = WaitQueue::new();
    NOBODY.wait_until_deadline(deadline_ns, || None::<()>).map(drop)
}
