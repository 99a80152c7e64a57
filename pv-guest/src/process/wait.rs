//! Wait queues: where processes wait for a condition that someone else brings about.

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use spin::Mutex;

use super::{Process, current, current_arc, sched, signal, timer};
use crate::errno::{Errno, Result};
use crate::time::monotonic_ns;

/// Processes waiting for one thing.
pub struct WaitQueue {
    waiters: Mutex<VecDeque<Arc<Process>>>,
}

impl WaitQueue {
    /// A queue nobody waits in.
    pub const fn new() -> Self {
        Self { waiters: Mutex::new(VecDeque::new()) }
    }

    /// Wakes all waiters; each looks at its condition again.
    pub fn wake_all(&self) {
        let waiters = core::mem::take(&mut *self.waiters.lock());
        waiters.iter().for_each(sched::wake);
    }

    /// Waits until `f` gives a value; `EINTR` when a signal comes first.
    ///
    /// No wake-up is lost between a look at the condition and the wait: the kernel lock is
    /// held in between.
    pub fn wait_until<T>(&self, f: impl FnMut() -> Option<T>) -> Result<T> {
        self.wait(None, true, f)?.ok_or(Errno::EINTR)
    }

    /// As [`WaitQueue::wait_until`], but gives `None` once a monotonic time has passed.
    pub fn wait_until_deadline<T>(
        &self,
        deadline_ns: u64,
        f: impl FnMut() -> Option<T>,
    ) -> Result<Option<T>> {
        self.wait(Some(deadline_ns), true, f)
    }

    /// As [`WaitQueue::wait_until`], whatever signals come.
    pub fn wait_uninterrupted<T>(&self, f: impl FnMut() -> Option<T>) -> Option<T> {
        self.wait(None, false, f).ok().flatten()
    }

    fn wait<T>(
        &self,
        deadline: Option<u64>,
        interruptible: bool,
        mut f: impl FnMut() -> Option<T>,
    ) -> Result<Option<T>> {
        loop {
            if let Some(value) = f() {
                return Ok(Some(value));
            }
            if deadline.is_some_and(|deadline| monotonic_ns() >= deadline) {
                return Ok(None);
            }
            if interruptible && signal::pending_interrupt() {
                return Err(Errno::EINTR);
            }
            self.waiters.lock().push_back(current_arc());
            let key = deadline.map(timer::add);
            sched::block();
            self.waiters.lock().retain(|waiter| waiter.pid != current().pid);
            if let Some(key) = key {
                timer::cancel(key);
            }
        }
    }
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}
